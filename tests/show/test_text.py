"""Graphs as text: golden lines, names, scopes, trees."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from graphc.graph import Graph
from graphc.ops.contraction import matmul
from graphc.ops.leaves import constant
from graphc.ops.movement import broadcast_to
from graphc.scalars import exp, tanh
from graphc.show.names import node_names
from graphc.show.text import graph_table, graph_text, tree_text
from graphc.site import scope
from graphc.types import FLOAT32
from show import models


def graph_of(*outputs):
    return Graph((), outputs)


def test_the_perceptron_reads_as_it_did(repository: Path):
    golden = repository / "tests" / "golden" / "mlp.txt"
    assert graph_text(models.mlp_graph()) + "\n" == golden.read_text("utf-8")


def test_print_shows_the_text():
    graph = models.mlp_graph()
    assert str(graph) == graph_text(graph)


def test_the_text_is_the_same_for_the_same_program():
    assert graph_text(models.mlp_graph()) == graph_text(models.mlp_graph())


def test_numbers_are_written_in_their_readers_line():
    x = models.leaf("x", 3)
    y = x * 2
    assert "y: f32[3] = multiply(x, 2)" in graph_text(graph_of(y))
    everything = graph_text(graph_of(y), detail="all")
    assert "broadcast(" in everything
    assert everything.count("\n") == graph_text(graph_of(y)).count("\n") + 2


def test_a_number_that_is_the_result_has_a_line():
    two = constant(2, FLOAT32)
    assert "%0: f32[] = constant(2)" in graph_text(graph_of(two))


def test_names_used_twice_are_told_apart():
    x = models.leaf("x", 3)
    h = tanh(x)
    h = tanh(h)
    text = graph_text(graph_of(h))
    assert "h: f32[3] = tanh(x)" in text
    assert "h_2: f32[3] = tanh(h)" in text
    assert "return h_2" in text


def test_a_variable_cannot_take_the_name_of_a_parameter():
    h = tanh(models.leaf("x", 3))
    y = h * models.param("h", 3)
    names = node_names(graph_of(y).nodes)
    assert names[h] == "h_2"
    assert len(set(names.values())) == len(names)


def test_the_name_goes_to_the_value_that_a_statement_ends_with():
    x = models.leaf("x", 3)
    mean = (x * 2 + 1) / x
    text = graph_text(graph_of(mean))
    assert "mean: f32[3] = divide(" in text
    assert text.count("mean") == 2


def test_every_turn_of_a_loop_has_its_name():
    h, w = models.leaf("x", 4, 4), models.param("w", 4, 4)
    for _ in range(3):
        h = tanh(matmul(h, w))
    text = graph_text(graph_of(h))
    assert [f"{name}: f32[4,4] = tanh" in text for name in ("h", "h_2", "h_3")] == [True] * 3


def test_scopes_are_comments():
    x = models.leaf("x", 3)
    with scope("outer"), scope("inner"):
        y = exp(x)
    assert "  # outer / inner\n  y: f32[3] = exp(x)" in graph_text(graph_of(y))


@pytest.mark.parametrize("name", ["two words", "line\nbreak", 'quo"te', "</script>", "bell\a"])
def test_hostile_names_stay_on_one_line(name: str):
    text = graph_text(graph_of(exp(models.leaf(name, 2))))
    assert len(text.splitlines()) == 4
    assert "\a" not in text


def test_the_table_has_a_row_for_each_line():
    graph = models.mlp_graph()
    out = StringIO()
    Console(file=out, width=160).print(graph_table(graph))
    assert "multiply(error, error)" in out.getvalue()
    lines = [line for line in graph_text(graph).splitlines() if ": " in line]
    assert graph_table(graph).row_count == len(lines) - 1 + len(graph.inputs)


def test_the_tree_draws_a_shared_value_once():
    x = models.leaf("x", 3)
    e = exp(x)
    y = e * e + 1
    assert tree_text(y) == "\n".join(
        [
            "y: f32[3] add",
            "├─ f32[3] multiply",
            "│  ├─ e: f32[3] exp",
            "│  │  └─ x: f32[3]",
            "│  └─ e: above",
            "└─ 1",
        ]
    )


def test_a_long_tree_says_what_is_missing():
    h = models.leaf("x", 3)
    for _ in range(2000):
        h = exp(h)
    text = tree_text(h, limit=50)
    assert len(text.splitlines()) == 51
    assert text.endswith("... 1951 more nodes")


def test_broadcasts_of_tensors_are_lines():
    y = broadcast_to(models.leaf("b", 3), (2, 3))
    assert "y: f32[2,3] = broadcast(b, axes=(1,))" in graph_text(graph_of(y))


@pytest.mark.sweep
def test_a_hundred_thousand_nodes_are_printed():
    h = models.leaf("x", 3)
    for _ in range(50_000):
        a = tanh(h)
        h = a * a
    lines = graph_text(graph_of(h)).splitlines()
    assert len(lines) == 100_000 + 3
    assert lines[-2].startswith("  h_50000: ")
