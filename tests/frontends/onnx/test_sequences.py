"""Sequences and optional values: positions, pieces, what comes in and out of a model."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import model, run, run_everywhere

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_positions_count_from_both_ends():
    pieces = "s = SplitToSequence(x) m = Constant<value = int64 {-2}>() "
    inserted = "one = SequenceAt(s, m) t = SequenceInsert(s, one, m) "
    body = pieces + inserted + "u = SequenceErase(t) y = ConcatFromSequence<axis = 0>(u)"
    (y,) = run_everywhere("float[3,4] x", body, ROWS)
    np.testing.assert_array_equal(y, ROWS[[0, 1, 1]])


@pytest.mark.parametrize("position", [3, -4])
def test_positions_outside_are_errors(position):
    body = (
        f"s = SplitToSequence(x) m = Constant<value = int64 {{{position}}}>() y = SequenceAt(s, m)"
    )
    with pytest.raises(UserError, match=r"GC0306(.|\n)*of 3"):
        run("float[3,4] x", body.replace("POSITION", str(position)), ROWS)


@pytest.mark.parametrize(
    ("split", "shapes"),
    [("int64 {3}", [(3, 3), (3, 1)]), ("int64[3] {1, 0, 3}", [(3, 1), (3, 0), (3, 3)])],
)
def test_pieces_of_given_sizes(split, shapes):
    body = f"k = Constant<value = {split}>() y = SplitToSequence<axis = -1>(x, k)"
    (found,) = run_everywhere("float[3,4] x", body, ROWS)
    assert [piece.shape for piece in found] == shapes
    np.testing.assert_array_equal(np.concatenate(found, 1), ROWS)


def test_nothing_has_no_pieces():
    assert run("float[0,4] x", "y = SplitToSequence(x)", ROWS[:0]) == [[]]


def test_pieces_of_one_may_lose_the_axis():
    (found,) = run("float[3,4] x", "y = SplitToSequence<axis = 1, keepdims = 0>(x)", ROWS)
    assert [piece.shape for piece in found] == [(3,)] * 4


def test_sizes_that_do_not_fill_the_axis_are_an_error():
    body = "k = Constant<value = int64[2] {1, 1}>() y = SplitToSequence(x, k)"
    with pytest.raises(UserError, match="GC0101"):
        run("float[3,4] x", body, ROWS)


def test_an_empty_sequence_has_no_elements_to_join():
    (length, empty) = run(
        "float x", "e = SequenceEmpty() y = SequenceLength(e)", ROWS[0, 0], outputs="y e"
    )
    assert length == 0
    assert length.dtype == np.int64
    assert empty == []
    with pytest.raises(UserError, match="GC0104"):
        run("float x", "e = SequenceEmpty() y = ConcatFromSequence<axis = 0>(e)", ROWS[0, 0])


def test_a_function_of_each_element():
    body = """y, z = SequenceMap(s, x) <
      body = b(float[N] a, float[M] c) => (float[N] d, int64[1] n) {
        d = Mul(a, c)  n = Shape(a) }>"""
    one = model("seq(float[N]) s, float[1] x", body, "y z")
    given = [np.ones(2, np.float32), np.ones(3, np.float32)]
    products, shapes = one.run(given, np.array([4], np.float32))
    assert [p.tolist() for p in products] == [[4, 4], [4, 4, 4]]
    assert [s.tolist() for s in shapes] == [[2], [3]]
    assert one.run([], np.array([4], np.float32)) == [[], []]


def test_contents_of_optional_values():
    body = "y = OptionalHasElement(s) o = Optional(x) z = OptionalGetElement(o)"
    one = model("optional(seq(float[N])) s, float[1] x", body, "y z")
    x = np.ones(1, np.float32)
    assert [bool(one.run(s, x)[0]) for s in (None, [x], None)] == [False, True, False]
    assert one.run(None, x)[1] == x
    with pytest.raises(UserError, match="GC0106"):
        model("optional(float[1]) s", "y = OptionalGetElement(s)").run(None)
