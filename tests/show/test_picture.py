"""What a picture holds: roles, folding, pairs, parallel edges, budgets."""

import pytest

from graphc.grad import gradients
from graphc.graph import Graph
from graphc.ops.movement import broadcast_to, reshape
from graphc.scalars import exp, sin, tanh
from graphc.show.build import Request, picture
from graphc.show.layout import layout
from graphc.show.roles import FOLDED
from graphc.site import scope, serving
from show import models
from show.shapes import drawn


def by_title(shown, title):
    return [b for b in shown.boxes if b.title == title]


def test_roles():
    graph = models.mlp_graph()
    shown = picture(Request(graph.outputs, graph.updates))
    roles = {b.role for b in shown.boxes}
    assert roles == {"input", "param", "forward", "gradient", "update"}
    assert [b.title for b in shown.boxes if b.role == "update"] == [
        f"update {name}" for name in ("w1", "b1", "w2", "b2")
    ]


def test_operands_come_before_readers():
    for name in ("mlp", "lstm", "attention"):
        shown = drawn(name)
        assert all(e.source < e.target for e in shown.edges)


def test_every_gradient_has_its_partner():
    shown = drawn("convnet")
    assert shown.has_pairs
    for b in shown.boxes:
        assert (b.partner is not None) == (b.role == "gradient")


def test_numbers_and_broadcasts_are_chips():
    x = models.leaf("x", 2, 3)
    shown = picture(Request((x * 2 + broadcast_to(models.leaf("b", 3), (2, 3)),)))
    assert len(shown.boxes) == 4
    (product,) = by_title(shown, "multiply")
    assert [p.chip.text if p.chip else None for p in product.ports] == [None, "2"]
    (total,) = by_title(shown, "add")
    assert total.ports[1].chip.text == "broadcast"
    assert shown.boxes[total.ports[1].source].name == "b"


def test_detail_all_shows_every_node():
    x = models.leaf("x", 2, 3)
    y = x * 2 + 1
    shown = picture(Request((y,), detail="all"))
    assert len(shown.boxes) == len(Graph((), (y,)).nodes)
    assert not any(b.chips for b in shown.boxes)


def test_folded_operations_exist():
    x = models.leaf("x", 2, 3)
    names = {reshape(x, (6,)).op.name, broadcast_to(x, (4, 2, 3)).op.name}
    assert names <= set(FOLDED)


def test_a_folded_result_still_has_a_box():
    y = reshape(models.leaf("x", 2, 3), (6,))
    shown = picture(Request((y,)))
    assert [b.title for b in shown.boxes] == ["input", "reshape"]
    assert shown.boxes[1].output


def test_a_square_has_two_edges():
    x = exp(models.leaf("x", 3))
    shown = picture(Request((x * x,)))
    assert [(e.source, e.target, e.port) for e in shown.edges] == [(0, 1, 0), (1, 2, 0), (1, 2, 1)]


def test_a_leaf_with_many_readers_is_repeated_as_a_chip():
    shown = drawn("lstm")
    chips = [p.chip.text for b in shown.boxes for p in b.ports if p.chip]
    assert chips.count("u") > 6
    assert [b.name for b in shown.boxes if b.role == "param"] == ["w", "u", "b"]
    for k, b in enumerate(shown.boxes):
        if b.role == "param":
            assert [e for e in shown.edges if e.source == k]


def test_views():
    forward, backward = drawn("mlp", view="forward"), drawn("mlp", view="backward")
    assert {b.role for b in forward.boxes} == {"input", "param", "forward"}
    assert {b.role for b in backward.boxes} == {"saved", "gradient"}
    for shown in (forward, backward):
        assert len(layout(shown).boxes) == len(shown.boxes)


def test_second_derivatives_are_layered():
    x = models.leaf("x")
    y = tanh(x)
    (first,) = gradients(y, [x])
    (second,) = gradients(first, [x])
    shown = picture(Request((y, first, second)))
    assert not shown.has_pairs
    assert len(layout(shown).boxes) == len(shown.boxes)


def test_a_rewritten_forward_node_is_still_the_partner():
    x = models.leaf("x", 3)
    y = sin(x)
    (slope,) = gradients(y, [x], seed=models.leaf("g", 3))
    with serving(y, rule="some rule"):
        replaced = sin(x)
    shown = picture(Request((replaced, slope)))
    partners = {b.partner for b in shown.boxes if b.role == "gradient"}
    assert len(partners) == 1
    assert shown.boxes[partners.pop()].output


def test_scopes_nest():
    shown = drawn("convnet", view="forward")
    paths = {s.path for s in shown.scopes}
    assert ("features", "stage1") in paths
    for s in shown.scopes:
        assert s.parent < 0 or shown.scopes[s.parent].path == s.path[:-1]


@pytest.mark.parametrize("depth", [1, 2])
def test_scopes_fold_to_a_depth(depth):
    shown = drawn("convnet", detail=depth, view="forward")
    folded = {b.title: b.count for b in shown.boxes if b.count > 1}
    expected = {"features", "classifier", "loss"} if depth == 1 else {"stage1", "stage2"}
    assert set(folded) == expected
    assert all(e.source < e.target for e in shown.edges)


def test_above_the_budget_scopes_are_folded_and_the_picture_says_so():
    shown = drawn("residual", budget=50)
    assert len(shown.boxes) <= 50
    assert "folded" in shown.notes[0]
    assert shown.has_pairs
    assert len(layout(shown).boxes) == len(shown.boxes)


def test_a_folded_scope_takes_its_own_parameters_in():
    shown = drawn("residual", detail=1, view="forward")
    assert not [b for b in shown.boxes if b.role == "param"]
    assert [b.title for b in shown.boxes if b.role == "input"] == ["input", "input"]


def test_updates_stand_beside_their_gradients():
    graph = models.mlp_graph()
    for detail in ("folded", "all"):
        shown = picture(Request(graph.outputs, graph.updates, detail=detail))
        found = layout(shown)
        for e in shown.edges:
            if (shown.boxes[e.source].role, shown.boxes[e.target].role) == ("gradient", "update"):
                assert found.grid.row[e.source] == found.grid.row[e.target]


def test_above_the_budget_without_scopes_runs_are_folded():
    h = models.leaf("x", 3)
    for _ in range(5000):
        h = tanh(h)
    shown = picture(Request((h, *gradients(h, [h], seed=models.leaf("g", 3))), budget=100))
    assert len(shown.boxes) <= 100
    assert sum(b.count for b in shown.boxes if b.role == "forward") == 5000
    assert "runs" in shown.notes[0]


def test_folding_makes_no_cycle():
    x = models.leaf("x", 3)
    for _ in range(4):
        with scope("in"):
            x = tanh(x)
        with scope("out"):
            x = exp(x)
    shown = picture(Request((x,), detail=1))
    assert all(e.source < e.target for e in shown.edges)
    assert sum(b.count for b in shown.boxes if b.role == "forward") == 8


def test_names_and_values_and_kernels_can_be_given():
    x = models.leaf("x", 3)
    y = tanh(x)
    shown = picture(
        Request((y,), names={y: "z"}, values={y: "mean 0.5"}, kernels={y: (3, "kernel 3")})
    )
    box = shown.boxes[1]
    assert (box.name, box.value, box.kernel) == ("z", "mean 0.5", 3)
    assert shown.kernels == {3: "kernel 3"}


def test_boxes_know_their_line():
    shown = drawn("mlp")
    (box,) = by_title(shown, "tanh")
    assert box.place.startswith("models.py:")
    assert box.code == "h = tanh(a)"
    assert box.call == "tanh(a)"
