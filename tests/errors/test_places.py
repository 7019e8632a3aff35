"""Errors and nodes lead back to the user's own line, whatever stands in between."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.graph import toposort


def test_layers_losses_and_optimisers_are_placed_where_the_user_called_them():
    x, y = gc.input("x", (4, 3)), gc.input("y", (4,), "int64")
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))
    loss = nn.cross_entropy(model(x), y)
    updates = optim.Adam().updates(loss, model.parameters())
    nodes = toposort([loss.node, *(new.node for new in updates.values())])
    assert {node.site.file for node in nodes if node.inputs} == {__file__}


def test_an_error_tells_where_each_operand_was_made():
    wide = gc.input("wide", (3, 4))
    narrow = gc.tanh(gc.input("narrow", (3, 2)))
    with pytest.raises(gc.UserError) as caught:
        wide + narrow
    lines = str(caught.value).splitlines()
    assert "        wide + narrow".strip() in [line.strip() for line in lines]
    assert any(line.strip().startswith("wide: f32[3,4]") and __file__ in line for line in lines)
    assert any(line.strip().startswith("narrow: f32[3,2]") and __file__ in line for line in lines)


def test_the_carets_stand_below_the_expression():
    a, b = gc.input("a", (2,)), gc.input("b", (3,))
    with pytest.raises(gc.UserError) as caught:
        (a * 2) + (b - a)
    lines = str(caught.value).splitlines()
    marks = next(k for k, line in enumerate(lines) if line.strip() and set(line.strip()) == {"^"})
    start, end = lines[marks].index("^"), len(lines[marks])
    assert lines[marks - 1][start:end] == "b - a"


# find_nan -----------------------------------------------------------------------------------------
def root_of_difference(backend):
    a, b = gc.input("a", (3,)), gc.input("b", (3,))
    difference = a - b
    root = gc.sqrt(difference)
    return gc.compile([a, b], (root * 2).sum(), backend=backend)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_the_operation_that_makes_a_nan_is_found(backend):
    one, two = np.ones(3, np.float32), np.full(3, 2, np.float32)
    f = root_of_difference(backend)
    f.find_nan(two, one)
    with pytest.raises(gc.UserError, match="GC0307") as caught:
        f.find_nan(one, b=two)
    message = str(caught.value)
    assert "sqrt makes a nan in root" in message
    assert "root = gc.sqrt(difference)" in message
    assert "difference: f32[3]" in message


def test_a_nan_from_outside_is_not_blamed_on_an_operation():
    one, bad = np.ones(3, np.float32), np.array([1, np.nan, 1], np.float32)
    with pytest.raises(gc.UserError, match="b holds a nan from the start"):
        root_of_difference("numpy").find_nan(one, bad)


def test_looking_for_nans_changes_no_parameter():
    w = gc.param(np.ones(2))
    step = gc.compile([], w.sum(), updates={w: w - 1}, backend="numpy")
    step.find_nan()
    assert gc.value(w).tolist() == [1, 1]


def test_a_nan_in_a_parameter_is_found():
    w = gc.param(np.array([1.0, np.nan]))
    with pytest.raises(gc.UserError, match="w holds a nan"):
        gc.compile([], w.sum(), backend="numpy").find_nan()
