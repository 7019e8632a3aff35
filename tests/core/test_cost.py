"""Costs of known graphs, exactly."""

import numpy as np
import pytest

from graphc.cost import cost
from graphc.frontends import dsl
from graphc.frontends.dsl.function import graph_of
from graphc.frontends.nn import functional


def cost_of(inputs, outputs, updates=None):
    found = cost(graph_of(inputs, outputs, updates or {}))
    return found.flops, found.bytes


def test_matmul():
    a, b = dsl.input("a", (3, 4)), dsl.input("b", (4, 5))
    assert cost_of([a, b], [a @ b]) == (2 * 3 * 4 * 5, 4 * (12 + 20 + 15))


def test_a_scalar_function_is_one_operation():
    x = dsl.input("x", (10,), "float64")
    assert cost_of([x], [dsl.tanh(x) + x]) == (20, 8 * 20)


def test_convolution():
    x, w = dsl.input("x", (2, 3, 8, 8)), dsl.input("w", (5, 3, 3, 3))
    y = functional.conv(x, w)
    flops, traffic = cost_of([x, w], [y])
    assert flops == 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3)
    assert traffic == 4 * (2 * 3 * 64 + 5 * 27 + 2 * 5 * 36)


def test_sums_count_what_they_read():
    x = dsl.input("x", (4, 6))
    assert cost_of([x], [x.sum(axis=0)]) == (24, 4 * (24 + 6))


def test_an_update_reads_and_writes_the_parameter():
    p, g = dsl.param(np.zeros(7), "p"), dsl.input("g", (7,))
    assert cost_of([g], [], {p: p - g}) == (7, 4 * (7 + 7 + 7))


def test_what_nobody_needs_costs_nothing():
    x, unused = dsl.input("x", (5,)), dsl.input("unused", (1000,))
    assert cost_of([x, unused], [x + x])[1] == 4 * 10


def test_named_sizes_stay_named():
    x = dsl.input("x", ("n", 4))
    found = cost(graph_of([x], [x + x], {}))
    assert found.flops.substitute({"n": 3}) == 12
    assert found.bytes.substitute({"n": 3}) == 4 * 24


@pytest.mark.parametrize("move", [lambda x: x.T, lambda x: x.reshape(6, 2)])
def test_moves_are_no_arithmetic(move):
    x = dsl.input("x", (3, 4))
    assert cost_of([x], [move(x)])[0] == 0
