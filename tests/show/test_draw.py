"""Drawing as users call it: arguments, files, notebooks, engines."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import networkx
import pytest

from graphc.errors import UserError
from graphc.graph import Graph, Node
from graphc.scalars import tanh
from graphc.show import engine
from graphc.show.draw import draw, to_graphviz
from graphc.show.export import to_networkx
from show import models
from show.test_svg import HOSTILE


@dataclass
class Wrapped:
    node: Node


@dataclass
class Compiled:
    graph: Graph


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setenv("GRAPHC_DOT", "no-such-program-anywhere")


def program(folder: Path, *lines: str) -> str:
    """A stand-in for a Graphviz program."""
    file = folder / "dot-like"
    file.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def test_what_can_be_drawn():
    x = models.leaf("x", 3)
    y = tanh(x)
    shown = [draw(s) for s in (y, Wrapped(y), [y], (Wrapped(y),), Graph((x,), (y,)))]
    shown.append(draw(Compiled(Graph((x,), (y,)))))
    assert {d.svg for d in shown} == {shown[0].svg}


@pytest.mark.parametrize("thing", [3, "x", None, {"a": 1}])
def test_what_cannot_be_drawn(thing):
    with pytest.raises(UserError, match="GC0107"):
        draw(thing)


@pytest.mark.parametrize(
    "option",
    [
        {"view": "side"},
        {"layout": "tree"},
        {"engine": "neato"},
        {"detail": "some"},
        {"kernels": True},
    ],
)
def test_unknown_options(option):
    with pytest.raises(UserError, match="GC0104"):
        draw(models.leaf("x"), **option)


def test_gradients_are_added_and_named():
    loss, weights = models.mlp()
    drawing = draw(loss, weights)
    names = [b.name for b in drawing.picture.boxes if b.output]
    assert sorted(names) == sorted(["loss", *(f"∂loss/∂{w.op.label}" for w in weights)])
    assert "gradient of loss" in drawing.text


def test_a_gradient_that_is_not_there():
    with pytest.raises(UserError, match="GC0203"):
        draw(models.mlp()[0], models.param("other", 2))


def test_layered_puts_everything_below_its_operands():
    loss, weights = models.mlp()
    assert draw(loss, weights, layout="layered").svg != draw(loss, weights).svg


@pytest.mark.parametrize("suffix", [".svg", ".dot", ".txt"])
def test_save(tmp_path, suffix, nothing_installed):
    drawing = draw(models.mlp()[0])
    file = tmp_path / f"picture{suffix}"
    assert drawing.save(file) == file
    expected = {".svg": drawing.svg, ".dot": drawing.dot, ".txt": drawing.text}[suffix]
    assert file.read_text("utf-8") == expected
    assert os.listdir(tmp_path) == [file.name]


def test_save_leaves_nothing_behind_when_it_fails(tmp_path):
    (tmp_path / "a.svg").mkdir()
    with pytest.raises(OSError, match=r"a\.svg"):
        draw(models.leaf("x")).save(tmp_path / "a.svg")
    assert os.listdir(tmp_path) == ["a.svg"]


def test_unknown_suffix(tmp_path):
    with pytest.raises(UserError, match="GC0104"):
        draw(models.leaf("x")).save(tmp_path / "picture.bmp")


def test_pixels_need_a_program(tmp_path, nothing_installed):
    with pytest.raises(UserError, match=r"graphc\[dot\]"):
        draw(models.leaf("x")).save(tmp_path / "picture.png")


def test_without_a_program_the_builtin_layout_draws(nothing_installed):
    drawing = draw(models.mlp()[0], engine="graphviz")
    assert drawing.svg.startswith("<svg")
    assert drawing.drawn_by == "builtin (no Graphviz program found)"


def test_a_program_draws(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "GRAPHC_DOT", program(tmp_path, "cat > /dev/null", "echo '<svg>drawn</svg>'")
    )
    drawing = draw(models.mlp()[0], engine="graphviz")
    assert drawing.svg == "<svg>drawn</svg>\n"
    assert drawing.drawn_by == "dot-like"
    assert drawing.save(tmp_path / "a.png").read_bytes() == b"<svg>drawn</svg>\n"


def test_a_program_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_DOT", program(tmp_path, "echo 'out of ink' >&2", "exit 3"))
    drawing = draw(models.mlp()[0], engine="graphviz")
    assert drawing.svg.startswith("<svg")
    assert "out of ink" in drawing.drawn_by
    with pytest.raises(UserError, match="out of ink"):
        drawing.save(tmp_path / "a.pdf")


def test_a_program_that_never_ends_is_stopped(tmp_path):
    with pytest.raises(engine.EngineFailed, match="more than"):
        engine.render(program(tmp_path, "exec sleep 60"), "digraph {}", "svg", timeout=0.2)


def test_notebooks_get_both_forms():
    drawing = draw(models.mlp()[0])
    bundle = drawing._repr_mimebundle_()
    assert bundle == {"image/svg+xml": drawing.svg, "text/plain": drawing.text}
    assert drawing._repr_mimebundle_(exclude=["image/svg+xml"]) == {"text/plain": drawing.text}
    assert drawing._repr_svg_() == drawing.svg


# Graphviz and NetworkX ----------------------------------------------------------------------------
def test_every_scope_is_a_cluster():
    loss, weights = models.residual(3)
    source = to_graphviz(loss, weights).source
    assert source.count("subgraph cluster_") == 4


@pytest.mark.parametrize("name", HOSTILE)
def test_dot_escapes(name):
    y = tanh(models.leaf(name, 2))
    source = to_graphviz(y, title=name).source
    assert "label=<" not in source
    assert "\0" not in source
    quotes = source.replace("\\\\", "").replace('\\"', "").count('"')
    assert quotes % 2 == 0


@pytest.mark.skipif(engine.find_engine() is None, reason="no Graphviz program")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_real_program_reads_the_dot(name):
    y = tanh(models.leaf(name, 2))
    source = to_graphviz([y, models.mlp()[0]], title=name).source
    assert b"<svg" in engine.render(engine.find_engine(), source, "svg")


def test_networkx_has_every_node_and_operand():
    loss, weights = models.mlp()
    drawing = draw(loss, weights)
    graph = to_networkx(drawing.graph)
    nodes = drawing.graph.nodes
    assert isinstance(graph, networkx.MultiDiGraph)
    assert graph.number_of_nodes() == len(nodes)
    assert graph.number_of_edges() == sum(len(n.inputs) for n in nodes)
    assert networkx.is_directed_acyclic_graph(graph)


def test_networkx_keeps_parallel_edges():
    x = models.leaf("x", 3)
    square = x * x
    graph = to_networkx(square)
    assert sorted(graph.edges(keys=True)) == [(0, 1, 0), (0, 1, 1)]
    assert graph.nodes[1]["name"] == "square"
    assert graph.nodes[1]["type"] == "f32[3]"
    assert graph.nodes[1]["line"] == square.site.line
    assert graph.nodes[0]["role"] == "input"


def test_a_drawing_prints_short():
    drawing = draw(tanh(models.leaf("x", 3)), title="one")
    assert repr(drawing) == "<drawing of one: 2 boxes, mirror layout>"
