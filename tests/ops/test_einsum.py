"""Einsum against NumPy's, with random equations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.backends.interpreter import Interpreter
from graphc.graph import Array, Graph, toposort
from graphc.ops.einsum import einsum
from graphc.ops.leaves import Input
from graphc.types import FLOAT64, TensorType

SIZES = dict(zip("abcde", (2, 3, 1, 4, 2), strict=True))


def run(equation: str, arrays: list[Array]) -> Array:
    inputs = [Input("x", TensorType(FLOAT64, a.shape), k)() for k, a in enumerate(arrays)]
    return Interpreter(Graph(tuple(inputs), (einsum(equation, *inputs),))).run(arrays)[0]


def arrays_for(terms: list[str]) -> list[Array]:
    rng = np.random.default_rng(0)
    drawn = (rng.integers(-3, 4, [SIZES[label] for label in term]) for term in terms)
    return [np.asarray(a, np.float64) for a in drawn]


@st.composite
def equations(draw: st.DrawFn) -> str:
    """Labels of one to four operands, some of them twice; the result keeps some of them."""
    labels = st.lists(st.sampled_from("abcde"), max_size=4).map("".join)
    terms = draw(st.lists(labels, min_size=1, max_size=4))
    known = sorted(set("".join(terms)))
    kept = draw(st.permutations(known))[: draw(st.integers(0, len(known)))]
    return f"{','.join(terms)}->{''.join(kept)}"


@given(equations())
def test_einsum_is_numpys(equation: str):
    arrays = arrays_for(equation.split("->")[0].split(","))
    np.testing.assert_array_equal(run(equation, arrays), np.einsum(equation, *arrays))


@pytest.mark.parametrize("equation", ["ab,bd", "ba", "ab,ad,de", "a , a -> a"])
def test_the_result_may_be_implied(equation: str):
    arrays = arrays_for([t.strip() for t in equation.split("->")[0].split(",")])
    np.testing.assert_array_equal(run(equation, arrays), np.einsum(equation, *arrays))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...a,ab->...b", [(2, 3, 4), (4, 5)]),
        ("...ab,b...->...a", [(2, 3, 4), (4, 2)]),
        ("a...->...", [(3, 4, 5)]),
        ("...,...", [(2, 3), (3,)]),
        ("...ab,...b->...a", [(2, 1, 4, 5), (3, 5)]),
        ("...aa->...a", [(2, 3, 3)]),
    ],
)
def test_dots_stand_for_the_axes_without_labels(equation: str, shapes: list[tuple[int, ...]]):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, shape).astype(np.float64) for shape in shapes]
    np.testing.assert_array_equal(run(equation, arrays), np.einsum(equation, *arrays))


def test_the_cheapest_pair_comes_first():
    """A matrix chain that ends in a vector never makes a matrix."""
    shapes = [(50, 50), (50, 50), (50,)]
    inputs = [Input("x", TensorType(FLOAT64, s), k)() for k, s in enumerate(shapes)]
    made = toposort([einsum("ab,bc,c->a", *inputs)])
    assert max(len(node.shape) for node in made if node.inputs) == 1
