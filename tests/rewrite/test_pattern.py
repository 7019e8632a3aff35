"""Patterns: what they match, what they build, how they print; conditions and what they prove."""

import numpy as np
import pytest

from graphc.dims import Dim
from graphc.ops.contraction import matmul
from graphc.ops.elementwise import cast_to, full_like
from graphc.ops.leaves import Iota, constant
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.ops.reduction import Broadcast, fold, sum_over
from graphc.ops.selection import Pad
from graphc.rewrite import (
    along,
    fact,
    is_float,
    moderate,
    never_negative,
    number,
    number_of,
    power_of_two,
    rule,
    shifted,
    total,
    variable,
)
from graphc.rewrite.conditions import _IF_ALL_ARE, _NEVER_NEGATIVE
from graphc.scalars import (
    SCALARS,
    absolute,
    exp,
    log,
    maximum,
    relu,
    softplus,
    sqrt,
    square,
    where,
)
from graphc.types import BOOL, DTYPES, FLOAT16, FLOAT32, INT64
from rewrite.values import leaf

x, y, c, d = variable("x"), variable("y"), number("c"), number("d")


def matches(pattern, node):
    return list(pattern.match(node, {}))


def test_a_variable_is_the_same_node_everywhere():
    a, b = leaf("a", (3,)), leaf("b", (3,))
    assert matches(x - x, a - a) == [{"x": a}]
    assert not matches(x - x, a - b)
    assert not matches(x - y, a + b)


def test_commuting_operands_match_in_both_orders():
    a, b = leaf("a", (3,)), leaf("b", (3,))
    assert matches(exp(x) + y, a + exp(b)) == [{"x": b, "y": a}]
    assert len(matches(x + y, a + b)) == 2
    assert matches(x + x * y, (a * b) + b) == [{"x": b, "y": a}]
    assert not matches(exp(x) - y, a - exp(b))


def test_numbers_are_seen_through_moves():
    a = leaf("a", (2, 3))
    two = Transpose((1, 0))(Reshape((3, 2))(broadcast_to(constant(2.0, FLOAT32), (6,))))
    assert number_of(two) == 2
    assert matches(x * 2, a * two) == [{"x": a}]
    assert matches(x * c, a * two)[0]["c"] is two
    assert not matches(x * 3, a * two)


@pytest.mark.parametrize(
    "node",
    [
        lambda: Iota((3,), 0)(),
        lambda: leaf("a", (3,)),
        lambda: exp(full_like(1, leaf("a", (3,)))),
        lambda: constant(Dim.named("n"), FLOAT32),
        lambda: Pad((1,), (0,), (0,))(full_like(1, leaf("a", (3,)))),
    ],
)
def test_other_nodes_are_no_numbers(node):
    assert number_of(node()) is None


def test_axes_and_shapes_must_agree():
    a = leaf("a", (3, 4))
    pattern = exp(x) / along(total(exp(x), "k"), "k")
    e = exp(a)
    good = e / Broadcast((3, 4), (0,))(sum_over(e, (1,)))
    assert matches(pattern, good) == [{"x": a, "k": ((1,), (3, 4))}]
    square_one = exp(leaf("b", (4, 4)))
    wrong = square_one / Broadcast((4, 4), (1,))(sum_over(square_one, (1,)))
    assert not matches(pattern, wrong)


def test_what_is_built_has_the_dtype_of_its_neighbours():
    a = leaf("a", (2, 2), "float16")
    node = (x * 2 + 1).build({"x": a})
    assert (node.dtype, node.shape) == (FLOAT16, (2, 2))


def test_rules_print_as_equations():
    shown = str(rule("exp of log", exp(log(x)), x, when=never_negative(x), why="inverse"))
    assert shown == "exp of log: exp(log(x)) -> x   when never_negative(x)"
    assert str(rule("twice", x + x, x * 2, why="same")) == "twice: (x + x) -> (x * 2)"
    assert str(along(total(x, "k"), "k")) == "along(add.over(x, k), k)"


def test_conditions_combine():
    a = leaf("a", (3,))
    small = fact("small", lambda node: node.type.size < 5)
    both = is_float(x) & small(x)
    assert both.holds({"x": a})
    assert not (both & ~small(x)).holds({"x": a})
    assert (~small(x) | is_float(x)).holds({"x": a})
    assert (~both).name == "not is_float(x) and small(x)"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0.25, "float32", True),
        (-8.0, "float32", True),
        (2.0**-126, "float32", True),
        (2.0**-127, "float32", False),
        (2.0**-140, "float64", True),
        (2.0**15, "float16", False),
        (3.0, "float32", False),
        (0.0, "float32", False),
        (np.inf, "float32", False),
        (4, "int64", False),
    ],
)
def test_power_of_two(value, kind, expected):
    node = constant(value, DTYPES[kind])
    assert power_of_two(c).holds({"c": node}) is expected


def test_moderate():
    def known(*values):
        return {n: constant(v, FLOAT32) for n, v in zip("cd", values, strict=True)}

    assert moderate(c, d).holds(known(1e-9, 1e9))
    assert not moderate(c, d).holds(known(1e-10, 1e-10))
    assert not moderate(c, d).holds(known(0.0, 1.0))
    assert not moderate(c, d).holds(known(float("inf"), 1.0))


A = leaf("a", (2, 3))
NOT_NEGATIVE = [
    exp(A), square(A), relu(A), absolute(A), softplus(A), sqrt(A), full_like(0, A), full_like(2, A),
    A * A, exp(A) + 1, exp(A) * square(A), exp(A) / 3, maximum(A, 0.0), where(A > 0, exp(A), 1.0),
    sum_over(square(A), (1,)), Transpose((1, 0))(exp(A)), matmul(exp(A), exp(leaf("b", (3, 2)))),
    cast_to(A, DTYPES["uint8"]), fold("minimum", exp(A), (0,)), sqrt(sum_over(square(A), (1,)) / 3),
]  # fmt: skip
MAYBE_NEGATIVE = [
    A, -exp(A), exp(A) - 1, exp(A) * A, exp(A) / A, exp(A) / -3, maximum(A, -1.0), A * -A,
    where(A > 0, A, 1.0), sum_over(A, (1,)), fold("maximum", exp(leaf("e", (0, 3))), (0,)),
    square(leaf("i", (3,), "int8")), absolute(leaf("i", (3,), "int8")), log(exp(A)),
]  # fmt: skip


@pytest.mark.parametrize("node", NOT_NEGATIVE)
def test_signs_that_can_be_proved(node):
    assert never_negative(x).holds({"x": node})


@pytest.mark.parametrize("node", MAYBE_NEGATIVE)
def test_signs_that_cannot(node):
    assert not never_negative(x).holds({"x": node})


def test_the_proof_of_a_sign_looks_only_a_few_nodes_deep():
    deep = exp(A)
    for _ in range(200):
        deep = deep + deep
    assert not never_negative(x).holds({"x": deep})


def test_a_shift_by_a_maximum_is_seen():
    peak = Broadcast((2, 3), (0,))(fold("maximum", A, (1,)))
    assert shifted(x).holds({"x": A - peak})
    assert shifted(x).holds({"x": Reshape((6,))(A - where(peak > 9, peak, 0.0))})
    assert shifted(x).holds({"x": -(A + peak)})
    assert not shifted(x).holds({"x": -(A + A)})
    assert not shifted(x).holds({"x": A + peak})
    assert not shifted(x).holds({"x": peak - A})


def test_every_function_called_never_negative_is():
    values = np.array([-np.inf, -3, -0.5, 0, 1e-30, 0.5, 1, 40, np.inf], "f")
    with np.errstate(all="ignore"):
        for name in _NEVER_NEGATIVE:
            assert not np.any(SCALARS[name].numpy(values) < 0), name
        positive = values[values >= 0]
        for name in _IF_ALL_ARE:
            pairs = np.meshgrid(*[positive] * SCALARS[name].arity)
            assert not np.any(SCALARS[name].numpy(*pairs) < 0), name


def test_bool_and_integer_numbers():
    flag = leaf("p", (3,), "bool")
    assert matches(where(True, x, y), where(full_like(True, flag), flag, flag))
    assert number_of(constant(7, INT64)) == 7
    assert number_of(constant(True, BOOL)) is True
