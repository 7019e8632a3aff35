"""Images at other sizes: old operator sets, named sizes, what is missing."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import model, run, run_everywhere

INPUTS = "float[1,1,2,{}] x, float[4] s"


@pytest.mark.parametrize(("operator", "version"), [("Upsample", 9), ("Resize", 10)])
def test_elements_are_repeated(operator, version):
    x = np.float32([[[[1, 2, 3], [4, 5, 6]]]])
    (y,) = run_everywhere(
        INPUTS.format(3), f"y = {operator}(x, s)", x, np.float32([1, 1, 2, 3]), version=version
    )
    np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(3, 3))


def test_scales_were_attributes():
    x = np.float32([[[[1, 2, 3], [4, 5, 6]]]])
    body = 'y = Upsample<mode="linear", scales=[1.0, 1.0, 1.0, 2.0]>(x)'
    (y,) = run("float[1,1,2,3] x", body, x, version=7)
    np.testing.assert_array_equal(y[0, 0, 0], [1, 1.5, 2, 2.5, 3, 3])


def test_a_shrinking_axis_rounded_up_before_set_11():
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    (y,) = run_everywhere(
        INPUTS.format(4), "y = Resize(x, s)", x, np.float32([1, 1, 0.6, 0.6]), version=10
    )
    np.testing.assert_array_equal(y, [[[[0, 2]]]])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("s = Constant<value_floats=[1.0, 1.0, 2.0]>() y = Resize(x, , s)", "f32[N,C,8]"),
        ("n = Shape<end=2>(x) m = Constant<value_ints=[7]>() s = Concat<axis=0>(n, m)"
         "y = Resize(x, , , s)", "f32[N,C,7]"),
        ("s = Constant<value_ints=[3]>() y = Resize<axes=[-1]>(x, , , s)", "f32[N,C,3]"),
        ("s = Constant<value_floats=[1.0, 3.0, 2.0]>() y = Resize<mode=\"linear\">(x, , s)",
         "f32[N,3*C,8]"),
    ],
)  # fmt: skip
def test_sizes_that_stay_or_grow_by_whole_factors_may_have_names(given, wanted):
    resized = model("float[N,C,4] x", given)
    assert str(resized(*resized.symbolic_inputs({})).node.type) == wanted


def test_one_scale_keeps_the_shape_of_what_is_shown():
    x = np.zeros((1, 1, 4, 6), np.float32)
    for policy, wanted in (("not_larger", (6, 9)), ("not_smaller", (8, 12))):
        body = f'y = Resize<axes=[2,3], keep_aspect_ratio_policy="{policy}">(x, , , s)'
        (y,) = run("float[1,1,4,6] x, int64[2] s", body, x, np.array([8, 9]))
        assert y.shape[2:] == wanted


@pytest.mark.parametrize(
    "body",
    [
        "y = Resize(x)",
        'y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, , s)',
    ],
)
def test_what_is_missing(body):
    scales = np.ones(4, np.float32)
    with pytest.raises(UserError, match="GC0302"):
        run("float[1,1,2,2] x, float[4] s", body, np.zeros((1, 1, 2, 2), "f"), scales)
