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
