"""Convolutions: paddings that are computed, borders that are added, streams, deformed filters."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from onnx_text import model, run, run_everywhere

CONV = "float[1,2,{}] x, float[3,2,{}] w"


def convolved(x, w, low, high, stride=1):
    """One-dimensional convolution by its definition."""
    padded = np.pad(x, [(0, 0), (0, 0), (low, high)])
    places = range(0, padded.shape[2] - w.shape[2] + 1, stride)
    return np.stack(
        [np.einsum("nck,ock->no", padded[:, :, p : p + w.shape[2]], w) for p in places], 2
    )


@pytest.mark.parametrize(
    ("side", "around"), [("SAME_UPPER", (1, 2)), ("SAME_LOWER", (2, 1)), ("VALID", (0, 0))]
)
def test_padding_is_computed(side, around, rng):
    x, w = rng.normal(size=(1, 2, 8)).astype("f"), rng.normal(size=(3, 2, 5)).astype("f")
    body = f'y = Conv<auto_pad="{side}", strides=[3]>(x, w)'
    (y,) = run_everywhere(CONV.format(8, 5), body, x, w)
    np.testing.assert_allclose(y, convolved(x, w, *around, 3), rtol=1e-4, atol=1e-5)


def test_same_padding_at_stride_1_needs_no_number():
    y = model("float[1,2,L] x, float[3,2,4] w", 'y = Conv<auto_pad="SAME_UPPER">(x, w)')
    assert str(y(*y.symbolic_inputs({})).node.type) == "f32[1,3,L]"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [('auto_pad="SAME_UPPER", strides=[2]', "GC0305"), ('auto_pad="SAME"', "GC0104")],
)
def test_padding_that_cannot_be_computed(attributes, code):
    y = model("float[1,2,L] x, float[3,2,4] w", f"y = Conv<{attributes}>(x, w)")
    with pytest.raises(UserError, match=code):
        y(*y.symbolic_inputs({}))


@pytest.mark.parametrize(
    ("attributes", "size", "front"),
    [
        ("output_shape=[9]", 9, 1),  # the part that is cut off is larger in front
        ('output_shape=[9], auto_pad="SAME_UPPER"', 9, 0),
        ("output_shape=[12]", 12, 0),  # what is missing is added at the end
        ('auto_pad="SAME_LOWER"', 8, 1),
    ],
)
def test_sizes_of_transposed_convolutions(attributes, size, front, rng):
    x, w = rng.normal(size=(1, 2, 4)).astype("f"), rng.normal(size=(2, 3, 4)).astype("f")
    inputs = "float[1,2,4] x, float[2,3,4] w"
    (whole,) = run(inputs, "y = ConvTranspose<strides=[2]>(x, w)", x, w)
    (y,) = run_everywhere(inputs, f"y = ConvTranspose<strides=[2], {attributes}>(x, w)", x, w)
    assert y.shape == (1, 3, size)
    wanted = np.pad(whole, [(0, 0), (0, 0), (0, 4)])[:, :, front : front + size]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_a_stream_in_parts_is_the_whole(rng):
    x, w = rng.normal(size=(2, 3, 9)).astype("f"), rng.normal(size=(3, 1, 4)).astype("f")
    body = 'y, s = CausalConvWithState<activation="silu">(x, w, b, p)'
    inputs = "float[2,3,{}] x, float[3,1,4] w, float[3] b, float[2,3,3] p"
    bias, state = rng.normal(size=3).astype("f"), np.zeros((2, 3, 3), np.float32)
    whole, last = run(inputs.format(9), body, x, w, bias, state, outputs="y s", version=27)
    parts = []
    for begin, end in ((0, 1), (1, 6), (6, 9)):
        part = x[:, :, begin:end]
        y, state = run(
            inputs.format(end - begin), body, part, w, bias, state, outputs="y s", version=27
        )
        parts.append(y)
    np.testing.assert_allclose(np.concatenate(parts, 2), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state, last)


def test_deformed_by_whole_elements_is_a_shift(rng):
    x = rng.normal(size=(1, 2, 6, 5)).astype("f")
    w = rng.normal(size=(2, 1, 3, 2)).astype("f")
    offset = np.zeros((1, 3 * 2 * 2, 4, 4), np.float32)
    offset[:, 1::2] = 1  # one column to the right
    inputs = "float[1,2,6,5] x, float[2,1,3,2] w, float[1,12,4,4] o"
    (y,) = run_everywhere(inputs, "y = DeformConv<group=2>(x, w, o)", x, w, offset, version=19)
    shifted = np.pad(x, [(0, 0), (0, 0), (0, 0), (0, 1)])[..., 1:]
    conv = "y = Conv<group=2>(x, w)"
    (wanted,) = run("float[1,2,6,5] x, float[2,1,3,2] w", conv, shifted, w)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_col2im_with_unequal_borders(rng):
    x = rng.normal(size=(1, 6, 4)).astype("f")
    body = "y = Col2Im<pads=[1, 2], strides=[2]>(x, s, b)"
    (y,) = run_everywhere(
        "float[1,6,4] x, int64[1] s, int64[1] b", body, x, np.array([6]), np.array([3])
    )
    wanted = np.zeros((1, 2, 9), np.float32)
    for p in range(4):
        wanted[:, :, 2 * p : 2 * p + 3] += x[:, :, p].reshape(1, 2, 3)
    np.testing.assert_allclose(y, wanted[:, :, 1:7], rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "shapes", "version"),
    [
        ("y = Conv<group=2, strides=[2,1], pads=[1,0,0,1]>(a, b, c)", "1,2,4,4 4,1,3,2 4", 18),
        (
            "y = ConvTranspose<group=2, strides=[2], pads=[1,0], output_padding=[1]>(a, b, c)",
            "1,2,3 2,2,2 4",
            18,
        ),
        ("y = DeformConv<pads=[1,0,0,0]>(a, b, c)", "1,1,3,3 1,1,2,2 1,8,3,2", 19),
    ],
)
def test_gradients(body, shapes, version, rng):
    sizes = dict(zip("abc", shapes.split(), strict=True))
    typed = ", ".join(f"float[{s}] {name}" for name, s in sizes.items())
    xs = [gc.input(n, tuple(map(int, s.split(",")))) for n, s in sizes.items()]
    y = model(typed, body, version=version)(*xs)
    values = {x: rng.normal(size=x.shape) for x in xs}
    report = gc.check_grad((y * rng.normal(size=y.shape)).sum(), xs, values)
    assert report, report
