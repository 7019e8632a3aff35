"""The names that `import graphc` gives."""

import inspect

import numpy as np

import graphc as gc
from running import assert_close, run

ARRAY_API = """
abs acos acosh add all any arange argmax argmin asin asinh astype atan atan2 atanh bitwise_and
bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor broadcast_to ceil
clip concat cos cosh divide equal exp expand_dims expm1 eye flip floor floor_divide full
full_like greater greater_equal isfinite isinf isnan less less_equal linspace log log10 log1p
log2 logical_and logical_not logical_or logical_xor matmul max maximum mean min minimum moveaxis
multiply negative not_equal ones ones_like permute_dims pow prod reciprocal remainder reshape
round sign sin sinh split sqrt square squeeze stack std subtract sum take take_along_axis tan
tanh tensordot tril triu trunc var where zeros zeros_like
"""


def test_every_name_is_there_once_and_has_a_docstring():
    assert len(gc.__all__) == len(set(gc.__all__))
    silent = [name for name in gc.__all__ if not inspect.getdoc(getattr(gc, name))]
    assert not silent


def test_the_modules_behind_the_names_do_not_hide_them():
    assert callable(gc.compile)
    assert callable(gc.grad)


def test_functions_have_the_names_of_the_array_api():
    missing = [name for name in ARRAY_API.split() if not hasattr(gc, name)]
    assert missing == []


def test_bits_by_name():
    a, b = np.array([12, 10]), np.array([2, 3])
    for name in (
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
    ):
        assert_close(run(getattr(gc, name), a=a, b=b), getattr(np, name)(a, b))
    assert_close(run(gc.bitwise_invert, a=a), ~a)
    assert_close(run(lambda a, b: np.left_shift(a, b), a=a, b=b), a << b)
    assert_close(run(lambda a: gc.dot(a, a), a=a), a @ a)
