"""Naive formulas become accurate: where the old graph fails, the new one gives the right value."""

import numpy as np
import pytest

from graphc.grad import gradients
from graphc.graph import Graph
from graphc.ops.movement import broadcast_to
from graphc.ops.reduction import Broadcast, fold, sum_over
from graphc.passes import Ledger, optimise, stabilise
from graphc.scalars import exp, log, sigmoid, sqrt, tanh
from rewrite.values import leaf, run

ROWS = np.array([[1000, 1001, 999], [-1000, -999, -2000], [0, 1, 2], [-0.5, 300, 0]], "f")
INFINITE = np.array([[-np.inf, 0, 1], [-np.inf] * 3, [np.inf, 0, 1], [np.nan, 0, 1]], "f")


def along(x, rows=4):
    return Broadcast((rows, 3), (0,))(x)


def softmax(x):
    return exp(x) / along(sum_over(exp(x), (1,)))


def exact(formula, values):
    """The formula in extended precision; exp there reaches 11,000."""
    with np.errstate(all="ignore"):
        return formula(values.astype(np.longdouble))


def check(make, formula, values, rtol=1e-6):
    x = leaf("x", values.shape)
    graph = optimise(Graph((x,), (make(x),)))
    wanted = exact(formula, values)  # below 1e-37 float32 has few digits
    np.testing.assert_allclose(run(graph, values)[0], wanted, rtol=rtol, atol=1e-37)


def np_softmax(x):
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def test_softmax():
    check(softmax, np_softmax, ROWS)
    check(lambda x: softmax(-x), lambda x: np_softmax(-x), ROWS)


def test_log_of_softmax():
    check(lambda x: log(softmax(x)), lambda x: np.log(np_softmax(x)), ROWS)


def test_softmax_with_the_sum_kept_as_an_axis():
    def make(x):
        total = broadcast_to(sum_over(exp(x), (1,)), (3, 4))
        return exp(x) / Broadcast((4, 3), (0,))(fold("maximum", total, (0,)))

    check(make, np_softmax, ROWS)


def test_log_of_sum_of_exp():
    check(lambda x: log(sum_over(exp(x), (1,))), lambda x: np.log(np.exp(x).sum(1)), ROWS)
    check(lambda x: log(sum_over(exp(x), (0, 1))), lambda x: np.log(np.exp(x).sum()), ROWS)


@pytest.mark.parametrize(
    "make",
    [softmax, lambda x: log(sum_over(exp(x), (1,)))],
    ids=["softmax", "logsumexp"],
)
def test_infinities_give_what_they_gave(make):
    """A row of -inf, of inf, of nan: the limit, or nan where there is none, as before."""
    x = leaf("x", (4, 3))
    graph = Graph((x,), (make(x),))
    np.testing.assert_allclose(run(optimise(graph), INFINITE)[0], run(graph, INFINITE)[0])


SMALL = np.array([0, 1e-30, -1e-20, 1e-9, -1e-5, 0.3, -0.9], "f")
WIDE = np.array([-1e4, -200, -90, -20, -1, -1e-4, 0, 0.5, 17, 20, 89, 100, 1e4], "f")


@pytest.mark.parametrize(
    ("make", "formula", "values"),
    [
        (lambda x: log(x + 1), np.log1p, SMALL),
        (lambda x: exp(x) - 1, np.expm1, SMALL),
        (lambda x: log(exp(x)), lambda x: x, WIDE),
        (lambda x: exp(log(exp(x))), np.exp, WIDE[2:-3]),
        (lambda x: log(sigmoid(x)), lambda x: -np.logaddexp(0, -x), WIDE),
        (lambda x: log(1 - sigmoid(x)), lambda x: -np.logaddexp(0, x), WIDE),
        (lambda x: 1 - sigmoid(x), lambda x: 1 / (1 + np.exp(x)), WIDE[1:-1]),
        (lambda x: 1 / (1 + exp(-x)), lambda x: 1 / (1 + np.exp(-x)), WIDE[1:]),
        (lambda x: exp(x) / (exp(x) + 1), lambda x: 1 / (1 + np.exp(-x)), WIDE[1:]),
        (lambda x: log(1 + exp(x)), lambda x: np.logaddexp(0, x), WIDE),
        (lambda x: log(1 / exp(x)), lambda x: -x, WIDE),
        (lambda x: sqrt(x * x), abs, np.array([1e-30, -1e30, 3, 0, -np.inf], "f")),
        (
            lambda x: (exp(x) - exp(-x)) / (exp(x) + exp(-x)),
            np.tanh,
            np.array([-100, -1e-6, 0, 1e-9, 0.5, 90], "f"),
        ),
    ],
)
def test_elementwise_formulas(make, formula, values):
    check(make, formula, values, rtol=3e-6)


def test_logistic_loss_as_written_in_books():
    """-(t log p + (1-t) log(1-p)) with p = sigmoid(x) is finite and right for any x."""
    x, t = leaf("x", WIDE.shape), leaf("t", WIDE.shape)
    p = sigmoid(x)
    loss = -(t * log(p) + (1 - t) * log(1 - p))
    result = optimise(Graph((x, t), (loss,)))
    for target in (0.0, 1.0):
        found = run(result, WIDE, np.full_like(WIDE, target))[0]
        wide = WIDE.astype(np.longdouble)
        wanted = np.logaddexp(0, wide) - target * wide
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-37)


def test_a_stable_formula_is_left_alone():
    x = leaf("x", (4, 3))
    shifted = x - along(fold("maximum", x, (1,)))
    graph = optimise(Graph((x,), (softmax(shifted),)))
    ledger = Ledger()
    assert stabilise(graph, ledger).nodes == graph.nodes
    assert not ledger.records


def test_normalisation_multiplies_by_one_root_per_row(rng):
    x = leaf("x", (4, 3))
    variance = sum_over(x * x, (1,)) / 3
    result = optimise(Graph((x,), (x / along(sqrt(variance + 1e-5)),)))
    assert [n.shape for n in result if n.op.name == "divide"] == [(4,)]  # the mean
    assert [n.shape for n in result if n.op.name == "rsqrt"] == [(4,)]
    value = rng.normal(size=(4, 3)).astype("f")
    wanted = value / np.sqrt((value**2).sum(1, keepdims=True) / 3 + 1e-5)
    np.testing.assert_allclose(run(result, value)[0], wanted, rtol=1e-5)


def test_a_gradient_keeps_the_sigmoid_it_has():
    x = leaf("x", ())
    (g,) = gradients(sigmoid(x), [x])
    names = [n.op.name for n in optimise(Graph((x,), (sigmoid(x), g)))]
    assert names.count("sigmoid") == 1


def test_tanh_is_found():
    x = leaf("x", (3,))
    (result,) = optimise(Graph((x,), ((exp(x) - exp(-x)) / (exp(x) + exp(-x)),))).outputs
    assert result.op == tanh(x).op
