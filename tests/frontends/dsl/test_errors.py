"""What a user reads when a program is wrong: code, line, carets, operands, fix."""

import numpy as np
import pytest

import graphc as gc


def test_a_shape_clash_shows_the_line_the_operands_and_a_fix():
    x = gc.input("x", ("batch", 3))
    w = gc.param(np.ones((4, 5)), name="weights")
    with pytest.raises(gc.UserError) as caught:
        x @ w
    text = str(caught.value)
    assert text.startswith("GC0101: matmul: f32[batch,3] @ f32[4,5] do not fit: 3 against 4")
    assert "test_errors.py" in text
    line, carets = text.splitlines()[3:5]
    assert line.strip() == "x @ w"
    assert carets.strip() == "^^^^^"
    assert carets.index("^") == line.index("x @ w")
    assert "x: f32[batch,3]" in text
    assert "weights: f32[4,5]" in text
    assert "why:" in text
    assert "try:" in text
    assert "graphc explain GC0101" in text


def test_a_clash_of_named_sizes_says_so():
    x, y = gc.input("x", ("n", 3)), gc.input("y", ("m", 3))
    with pytest.raises(gc.UserError, match="n against m") as caught:
        x + y
    assert "one name" in caught.value.fix


@pytest.mark.parametrize(
    "question",
    [
        bool,
        float,
        int,
        complex,
        list,
        np.asarray,
        range,
        np.sort,
        np.add.reduce,
        lambda t: 1 if t > 0 else 2,
        lambda t: t in [1, 2],
        lambda t: [y for y in t],  # noqa: C416 - the loop is the point
        lambda t: np.zeros(3)[t],
    ],
)
def test_python_cannot_see_the_value_of_a_tensor(question):
    x = gc.input("x", (), "int64")
    with pytest.raises(gc.UserError, match="GC0106") as caught:
        question(x)
    assert caught.value.fix


def test_len_is_known_for_numbers_only():
    assert len(gc.zeros((3, 2))) == 3
    for unknown in (gc.input("x", ("n",)), gc.zeros(())):
        with pytest.raises(gc.UserError, match="GC0106"):
            len(unknown)


def test_tensors_are_keys_by_identity():
    x, y = gc.input("x", (2,)), gc.input("y", (2,))
    found = {x: 1, y: 2}
    assert found[x] == 1
    assert found[y] == 2
    assert repr(x).startswith("<x: f32[2]")


def test_tensors_print_short():
    x, w = gc.input("x", (2,)), gc.param(np.zeros(2), name="w")
    assert repr(x) == "<x: f32[2] = input>"
    assert f"{w}" == "<w: f32[2] = param>"
    assert repr(x.sum()) == "<f32[] = sum(axes=(0,))>"


@pytest.mark.parametrize(
    ("question", "fix"),
    [
        (np.mean, "gc.mean"),
        (np.sum, "gc.sum"),
        (lambda x: np.concatenate([x, x]), "gc.concatenate"),
        (lambda x: f"{x:.3f}", "call it"),
    ],
)
def test_numpy_functions_name_ours(question, fix):
    with pytest.raises(gc.UserError, match="GC0106") as caught:
        question(gc.input("x", (2,)))
    assert fix in caught.value.fix


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_wrong_call_names_the_inputs_and_where_they_were_made(backend):
    x, y = gc.input("x", (2,)), gc.input("y", (2,))
    f = gc.compile([x, y], x + y, backend=backend)
    one = np.zeros(2, np.float32)
    for arrays, named, said in [
        ((one,), {}, "y is missing"),
        ((one, one, one), {}, "3 arrays are given for 2 inputs"),
        ((one,), {"z": one}, "y is missing; z is no input"),
        ((one, one), {"x": one}, "x is given twice"),
    ]:
        with pytest.raises(gc.UserError, match="GC0302") as caught:
            f(*arrays, **named)
        assert caught.value.what == said
        assert "y: f32[2]   made at" in str(caught.value)
        assert "f(*arrays, **named)" in str(caught.value)


@pytest.mark.parametrize("wrong", [None, "text", [[1, 2], [3]], {"a": 1}])
def test_what_is_no_array_is_refused_by_name(wrong):
    x = gc.input("x", (2,))
    f = gc.compile([x], x * 2, backend="numpy")
    with pytest.raises(gc.UserError, match="GC0107: x cannot be made of"):
        f(wrong)


def test_python_numbers_fit_or_are_refused():
    x = gc.input("x", (2,), "int8")
    f = gc.compile([x], x * 2, backend="numpy")
    assert f([3, -4]).tolist() == [6, -8]
    for wrong in ([300, 0], [1.5, 0]):
        with pytest.raises(gc.UserError, match="GC0304"):
            f(wrong)


def test_only_tensors_are_differentiated():
    x = gc.input("x", (2,))
    for loss in (3.0, lambda a: a):
        with pytest.raises(gc.UserError, match="GC0107: gradient of"):
            gc.grad(loss, x)
