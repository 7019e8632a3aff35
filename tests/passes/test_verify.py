"""Planted faults that `verify` must find."""

import pytest

from graphc.errors import CompilerBug
from graphc.graph import Graph, Node
from graphc.ops.leaves import Parameter, Storage
from graphc.passes import optimise, verify
from graphc.scalars import exp, tanh
from graphc.site import Site
from graphc.types import FLOAT32, FLOAT64, TensorType
from rewrite.values import leaf


def parameter(kind=FLOAT32):
    return Parameter("w", TensorType(kind, (3,)), Storage([1, 2, 3], kind))()


def wrong_type():
    a = leaf("a", (3,))
    bad = Node(exp(a).op, (a,), TensorType(FLOAT64, (3,)), a.site)
    return Graph((a,), (bad,))


def operands_that_do_not_fit():
    a, b = leaf("a", (3,)), leaf("b", (4,))
    return Graph((a, b), (Node((a + a).op, (a, b), a.type, a.site),))


def cycle():
    a = leaf("a", (3,))
    inner = exp(a)
    outer = tanh(inner)
    object.__setattr__(inner, "inputs", (outer,))
    return Graph((a,), (outer,))


def no_origin():
    a = leaf("a", (3,))
    return Graph((a,), (Node(exp(a).op, (a,), a.type, Site()),))


def unlisted_input():
    return Graph((), (exp(leaf("a", (3,))),))


def input_listed_twice():
    a = leaf("a", (3,))
    return Graph((a, a), (a,))


def computed_input():
    a = exp(leaf("a", (3,)))
    return Graph((a,), (a,))


def parameter_as_input():
    w = parameter()
    return Graph((w,), (w,))


def leaf_with_operands():
    a, b = leaf("a", (3,)), leaf("b", (3,))
    return Graph((a, b), (Node(a.op, (b,), a.type, a.site),))


def updated_input():
    a = leaf("a", (3,))
    return Graph((a,), (), ((a, exp(a)),))


def update_of_another_type():
    w, a = parameter(), leaf("a", (3,), "float64")
    return Graph((a,), (), ((w, a),))


def updated_twice():
    w = parameter()
    return Graph((), (), ((w, exp(w)), (w, tanh(w))))


FAULTS = {
    wrong_type: "it says f64",
    operands_that_do_not_fit: "do not fit",
    cycle: "depends on itself",
    no_origin: "where it comes from",
    unlisted_input: "does not list",
    input_listed_twice: "twice",
    computed_input: "must be a leaf",
    parameter_as_input: "must be a leaf",
    leaf_with_operands: "do not fit",
    updated_input: "only a parameter",
    update_of_another_type: "its update is f64",
    updated_twice: "updated twice",
}


@pytest.mark.parametrize("planted", FAULTS, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found(planted):
    with pytest.raises(CompilerBug, match=FAULTS[planted]):
        verify(planted())


@pytest.mark.parametrize("planted", FAULTS, ids=lambda f: f.__name__)
def test_optimise_verifies_first(planted):
    with pytest.raises(CompilerBug):
        optimise(planted())


def test_a_sound_graph_passes():
    a, w = leaf("a", (3,)), parameter()
    graph = Graph((a,), (exp(a),), ((w, w + a),))
    verify(graph)
    assert optimise(graph).outputs
