"""Shapes, borders and constants: older versions, and what ONNX's cases leave out."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import run

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
TYPED = "float[3,4] x"


def test_slices_had_attributes():
    (y,) = run(TYPED, "y = Slice<starts=[1], ends=[1000], axes=[1]>(x)", MATRIX, version=9)
    np.testing.assert_array_equal(y, MATRIX[:, 1:])


def test_parts_of_given_sizes_and_as_many_as_outputs():
    parts = run(TYPED, "y, z = Split<axis=1, split=[1,3]>(x)", MATRIX, version=11, outputs="y z")
    assert [p.shape for p in parts] == [(3, 1), (3, 3)]
    parts = run(TYPED, "y, z = Split<axis=-1>(x)", MATRIX, version=7, outputs="y z")
    np.testing.assert_array_equal(np.concatenate(parts, 1), MATRIX)


def test_the_last_part_may_be_smaller():
    parts = run(TYPED, "y, z = Split<num_outputs=2>(x)", MATRIX, outputs="y z")
    assert [p.shape for p in parts] == [(2, 4), (1, 4)]


def test_new_and_lost_axes_were_attributes():
    body = "u = Unsqueeze<axes=[0,3]>(x) y = Squeeze<axes=[0]>(u)"
    (y,) = run(TYPED, body, MATRIX, version=11)
    assert y.shape == (3, 4, 1)


def test_a_zero_size_is_kept_or_meant():
    (y,) = run("float[0,3] x", "s = Constant<value_ints=[3,0]>() y = Reshape<allowzero=1>(x, s)",
               np.zeros((0, 3), np.float32))  # fmt: skip
    assert y.shape == (3, 0)
    (y,) = run(TYPED, "s = Constant<value_ints=[0,2,-1]>() y = Reshape(x, s)", MATRIX)
    assert y.shape == (3, 2, 2)


def test_negative_borders_are_cut():
    body = "p = Constant<value_ints=[-1,2,0,-1]>() y = Pad(x, p)"
    (y,) = run(TYPED, body, MATRIX)
    np.testing.assert_array_equal(y, np.pad(MATRIX[1:, :-1], ((0, 0), (2, 0))))


def test_borders_were_attributes():
    (y,) = run(TYPED, 'y = Pad<pads=[0,1,0,2], mode="reflect">(x)', MATRIX, version=7)
    np.testing.assert_array_equal(y, np.pad(MATRIX, ((0, 0), (1, 2)), "reflect"))
    (y,) = run(TYPED, "y = Pad<pads=[1,0,0,0], value=5.0>(x)", MATRIX, version=7)
    np.testing.assert_array_equal(y, np.pad(MATRIX, ((1, 0), (0, 0)), constant_values=5))
    with pytest.raises(UserError, match=r"GC0505.*turned"):
        run(TYPED, 'y = Pad<pads=[0,1,0,2], mode="turned">(x)', MATRIX, version=7)


@pytest.mark.parametrize(("size", "left"), [(7, 1), (1, -1)])
def test_odd_borders_lie_at_the_end(size, left):
    (y,) = run("float[4] x, int64[1] s", "y = CenterCropPad(x, s)", MATRIX[1], np.array([size]))
    wanted = np.pad(MATRIX[1], (1, 2)) if left > 0 else MATRIX[1, 1:2]
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks_of_pixels_become_channels_and_back(mode, rng):
    x = rng.normal(size=(2, 8, 3, 5)).astype(np.float32)
    options = f'<blocksize=2, mode="{mode}">'
    body = f"d = DepthToSpace{options}(x) y = SpaceToDepth{options}(d)"
    np.testing.assert_array_equal(run("float[2,8,3,5] x", body, x, version=28)[0], x)


def test_upsampling_by_an_attribute():
    (y,) = run(TYPED, "y = Upsample<scales=[2.0,1.0]>(x)", MATRIX, version=7)
    np.testing.assert_array_equal(y, np.repeat(MATRIX, 2, 0))


def test_constants_of_every_kind():
    body = (
        "a = Constant<value_float=2.5>() b = Constant<value_ints=[1,2]>()"
        "c = Constant<value_int=3>() d = Cast<to=1>(b) e = Cast<to=1>(c)"
        "f = Constant<value = float[1] {10}>() g = Constant<value_floats=[0.5,0.25]>()"
        "y = Sum(x, a, d, e, f, g)"
    )
    np.testing.assert_array_equal(run("float[2] x", body, np.float32([0, 0])), [[17, 17.75]])
    with pytest.raises(UserError, match=r"GC0505.*value_string"):
        run("float[2] x", 'a = Constant<value_string="no">() y = Identity(x)', np.float32([0, 0]))


def test_counting_backward():
    args = [np.float32(v) for v in (2, 0.9, -0.5)]
    (y,) = run("float a, float b, float c", "y = Range(a, b, c)", *args)
    np.testing.assert_array_equal(y, np.float32([2, 1.5, 1]))


def test_ones_on_a_diagonal_of_another_type():
    (y,) = run(TYPED, "y = EyeLike<dtype=7, k=-1>(x)", MATRIX)
    np.testing.assert_array_equal(y, np.eye(3, 4, -1, np.int64))
