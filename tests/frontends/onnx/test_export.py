"""Export: whole models, what they are made of, names, files, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import graphc as gc
from exported import REFERENCE_LACKS, check_same, operators
from graphc import nn
from graphc.errors import UserError
from graphc.frontends.onnx import export, load
from graphc.graph import Array, Graph, toposort
from graphc.ops.window import Window, Windows
from graphc.scalars import add, maximum, minimum


def check_run(outputs: Sequence[gc.Tensor], **arrays: Array) -> None:
    """The exported tensors have the values that graphc computes, by each reader that can."""
    model = export(list(outputs))
    inputs = [x.name for x in model.graph.input]
    leaves = {n.op.label: n for n in toposort(y.node for y in outputs) if n.op.is_input}
    graph = Graph(tuple(leaves[name] for name in inputs), tuple(y.node for y in outputs))
    wanted = gc.Executable(graph, "numpy")(*(arrays[name] for name in inputs))
    check_same(load(model).run(**arrays, backend="numpy"), wanted, 1e-4)
    if not {*operators(model)} & {*REFERENCE_LACKS}:
        check_same(ReferenceEvaluator(model).run(None, arrays), wanted, 1e-4)


def normal(*shape: int) -> Array:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def classifier() -> tuple[gc.Tensor, gc.Tensor, list[gc.Tensor]]:
    x, y = gc.input("x", ("batch", 6)), gc.input("y", ("batch",), "int64")
    model = nn.Sequential(nn.Linear(6, 5, rng=0), nn.ReLU(), nn.Linear(5, 3, rng=1))
    scores = model(x)
    return scores, nn.cross_entropy(scores, y), list(model.named_state().values())


@pytest.mark.parametrize("batch", [1, 4])
def test_named_sizes_stay_open(batch):
    scores, loss, parameters = classifier()
    labels = np.arange(batch) % 3
    check_run([scores, loss, *gc.grad(loss, parameters)], x=normal(batch, 6), y=labels)


def test_sizes_are_computed_from_those_of_inputs():
    x = gc.input("x", ("n", 2 * gc.dim("m") + 1, 3))
    halves = gc.reshape(x[:, 1:], (2 * gc.dim("n"), gc.dim("m"), 3))
    found = [halves, x.mean(), gc.arange(gc.dim("m")) * 2, x[:, ::2].sum(axis=1)]
    check_run(found, x=normal(3, 7, 3))
    assert [d.dim_param for d in export(x).graph.input[0].type.tensor_type.shape.dim[:2]] == [
        "n",
        "2*m+1",
    ]


def test_sizes_can_be_given_numbers():
    scores, _, _ = classifier()
    (shape,) = [x.type.tensor_type.shape for x in export(scores, sizes={"batch": 4}).graph.input]
    assert [d.dim_value for d in shape.dim] == [4, 6]


def test_a_size_that_no_input_has_is_an_error():
    with pytest.raises(UserError, match="GC0505: no input of the model says what 'n' is"):
        export(gc.zeros((gc.dim("n"), 2)) + 1.0)


def test_broadcasting_is_left_to_the_operators():
    scores, _, _ = classifier()
    assert operators(export(scores)) == ["Gemm", "Add", "Relu", "Gemm", "Add"]


def test_a_padded_grouped_convolution_is_one_operator():
    x = gc.input("x", (2, 4, 7, 5))
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False, rng=0)
    y = gc.relu(layer(x))
    model = export(y)
    assert operators(model) == ["Conv", "Relu"]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in model.graph.node[0].attribute}
    assert (attributes["group"], attributes["pads"]) == (2, [1, 1, 1, 1])
    check_run([y, *gc.grad((y * y).sum(), [layer.weight, x])], x=normal(2, 4, 7, 5))


@pytest.mark.parametrize(
    ("equation", "shapes", "wanted"),
    [
        ("ij,jk->ik", ((2, 3), (3, 4)), ["MatMul"]),
        ("ij,kj->ki", ((2, 3), (4, 3)), ["Gemm"]),
        ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5)), ["MatMul"]),
        ("bij,bkj->bik", ((2, 3, 4), (2, 5, 4)), ["Transpose", "MatMul"]),
        ("abc,dc->abd", ((2, 3, 4), (5, 4)), ["Transpose", "MatMul"]),
        ("i,j->ij", ((3,), (4,)), ["Unsqueeze", "Mul"]),
        ("abc,abd->cd", ((2, 3, 4), (2, 3, 5)), ["Einsum"]),
    ],
)
def test_contractions_are_the_plainest_operator_that_fits(equation, shapes, wanted):
    a, b = (gc.input(f"x{k}", shape) for k, shape in enumerate(shapes))
    y = gc.einsum(equation, a, b)
    assert operators(export(y)) == wanted
    check_run([y], x0=normal(*shapes[0]), x1=normal(*shapes[1]))


@pytest.mark.parametrize("batch", [1, 3])
def test_gradients_of_pooling_are_written_for_open_batches(batch):
    x = gc.input("x", ("batch", 2, 6, 4))
    pooled = nn.max_pool(x, 2, stride=2) + nn.avg_pool(x, 3, stride=2, padding=1)[:, :, :, :2]
    loss = (pooled * pooled).sum()
    (slope,) = gc.grad(loss, [x])
    check_run([pooled, slope, *gc.grad((slope * slope).sum(), [x])], x=normal(batch, 2, 6, 4))


def test_what_is_written_by_definition_needs_numbers():
    x = gc.input("x", (2, 1, "height"))
    (slope,) = gc.grad(nn.max_pool(x, 2).sum(), [x])
    with pytest.raises(UserError, match="GC0505") as caught:
        export(slope)
    assert "sizes={'height': 8}" in str(caught.value)


def test_loops_and_branches_see_what_is_outside():
    x, flag = gc.input("x", (5, 3)), gc.input("flag", (), "bool")
    w = gc.param(normal(3, 3), name="w")
    last, states = gc.scan(lambda h, row: (gc.tanh(h @ w + row),) * 2, gc.zeros((3,)), x)
    either = gc.cond(flag, lambda a: a @ w, lambda a: a * 2.0, last)
    grown = gc.while_loop(lambda a: (a * a).sum() < 100.0, lambda a: a * 2.0 + w[0], last)
    loss = (states * states).sum() + either.sum()
    for value in (False, True):
        found = [last, states, either, grown, *gc.grad(loss, [w, x])]
        check_run(found, x=normal(5, 3), flag=np.array(value))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "uint32", "uint64"])
def test_integers_of_all_widths_are_computed_in_types_that_hold_them(kind):
    x = gc.input("x", (4, 5), kind)
    largest, least = int(np.iinfo(kind).max), int(np.iinfo(kind).min)
    array = np.array([largest, 0, 3, least, 7] * 4, kind).reshape(4, 5)
    over = Windows((3, 3), (2, 2), (1, 1), (1, 1), (1, 1))
    pools = [gc.Tensor(Window(f, over)(x.node)) for f in (maximum, minimum, add)]
    found = [x.sum(axis=0), gc.maximum(x, 3), gc.where(x > 3, x, x + x), -x, x * x, gc.cumsum(x, 1)]
    check_run([*pools, *found, x.max(axis=1), x.min(axis=0)], x=array)


def test_integers_divided_by_zero_are_zero():
    a, b = gc.input("a", (4,), "int32"), gc.input("b", (4,), "int32")
    found = [a // b, a % b, a // 3, a % -2]
    values = np.array([7, -7, 5, 0], "int32"), np.array([0, 2, -3, 0], "int32")
    check_run(found, a=values[0], b=values[1])
    assert operators(export(a % 3)) == ["Mod"]


def test_what_has_no_elements_is_not_computed():
    x, y = gc.input("x", (0, 3)), gc.input("y", (0, 5))
    model = export([gc.exp(x), x.T @ y, x.sum(axis=0), x.max(axis=0)])
    assert {*operators(model)} <= {"Identity", "Expand"}
    check_run([gc.exp(x), x.T @ y, x.sum(axis=0)], x=normal(0, 3), y=normal(0, 5))


# Names, files, refusals ---------------------------------------------------------------------------
def test_names_are_those_of_the_program():
    scores, loss, _ = classifier()
    model = export({"scores": scores, "loss": loss})
    assert [x.name for x in model.graph.input] == ["x", "y"]
    assert [y.name for y in model.graph.output] == ["scores", "loss"]
    assert [y.name for y in export([scores], outputs=["logits"]).graph.output] == ["logits"]
    twice = export([scores, scores])
    assert [y.name for y in twice.graph.output] == ["scores", "scores_1"]
    check_run([scores, scores], x=normal(2, 6))


def test_a_module_keeps_the_names_of_its_state():
    model = nn.Sequential(nn.Linear(6, 5, rng=0), nn.Linear(5, 3, rng=0))
    proto = export(model, inputs=[gc.input("x", ("batch", 6))])
    assert {x.name for x in proto.graph.initializer} == {*model.named_state()}
    back = load(proto).state_dict()
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(back[name], value)


def test_a_loaded_model_brings_its_names_along():
    scores, _, _ = classifier()
    first = export(scores, outputs=["logits"])
    second = export(load(first))
    assert [x.name for x in second.graph.input] == ["x"]
    assert [y.name for y in second.graph.output] == ["logits"]
    assert operators(second).count("Add") == operators(first).count("Add")


def test_inputs_and_constants_may_be_results():
    x = gc.input("x", (2,))
    check_run([x, gc.constant([1.0, 2.0]), x], x=normal(2))


def test_a_compiled_function_can_be_exported():
    x = gc.input("x", (2, 3))
    function = gc.compile([x], {"y": gc.exp(x)}, backend="numpy")
    assert operators(export(function)) == ["Exp"]


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch):
    scores, _, _ = classifier()
    path = tmp_path / "model.onnx"
    export(scores, path)
    before = path.read_bytes()
    assert load(path).run(normal(2, 6), backend="numpy")[0].shape == (2, 3)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="GC0501"):
        export(gc.exp(scores), path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_updates_cannot_be_said():
    x, w = gc.input("x", (3,)), gc.param([1.0, 2.0, 3.0], name="w")
    step = gc.compile([x], (x * w).sum(), {w: w - x}, backend="numpy")
    with pytest.raises(UserError, match="GC0505: the graph updates w"):
        export(step)


def test_a_random_state_that_counts_on_cannot_be_said():
    layer = nn.Dropout(0.5, seed=0)
    with pytest.raises(UserError, match="GC0505") as caught:
        export(layer(gc.input("x", (3,))))
    assert "evaluation mode" in str(caught.value)


@pytest.mark.parametrize("names", [["a", "b"], ["x"], []])
def test_results_need_names_of_their_own(names):
    x = gc.input("x", (3,))
    y = gc.exp(x)
    if not names:
        assert [v.name for v in export(y, outputs=names).graph.output] == ["y"]
    else:
        with pytest.raises(UserError, match="GC0302"):
            export(y, outputs=names)
