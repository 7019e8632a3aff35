"""Recurrent layers against the loop over steps that defines them, with every option."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from onnx_text import model, run, run_everywhere

TIME, COUNT, INPUTS, HIDDEN = 4, 3, 2, 5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
LENGTHS = np.array([4, 1, 3], np.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn_step(x, r, p, memory):
    return (np.tanh(x + memory[0] @ r.T),)


def gru_step(x, r, p, memory):
    (h,) = memory
    z, reset, _ = np.split(sigmoid(x + h @ r.T), 3, -1)
    new = np.tanh(x[:, 2 * HIDDEN :] + (reset * h) @ r[2 * HIDDEN :].T)
    return ((1 - z) * new + z * h,)


def lstm_step(x, r, p, memory):
    h, c = memory
    i, o, f, g = np.split(x + h @ r.T, 4, -1)
    pi, po, pf = np.split(p, 3)
    i, f = sigmoid(i + pi * c), sigmoid(f + pf * c)
    c = f * c + i * np.tanh(g)
    return sigmoid(o + po * c) * np.tanh(c), c


STEPS = {"RNN": rnn_step, "GRU": gru_step, "LSTM": lstm_step}


def one_way(operator, arrays, d, reverse):
    """All states and the last memory of one direction; a sequence ends where its length says."""
    x, w, r, b, lengths, *starts = arrays
    p = starts.pop()[d] if operator == "LSTM" else None
    wb, rb = np.split(b[d], 2)
    memory, states = tuple(s[d] for s in starts), np.zeros((TIME, COUNT, HIDDEN))
    for t in range(TIME)[:: -1 if reverse else 1]:
        new = STEPS[operator](x[t] @ w[d].T + wb + rb, r[d], p, memory)
        goes_on = (t < lengths)[:, None]
        states[t] = np.where(goes_on, new[0], 0)
        memory = tuple(np.where(goes_on, n, m) for n, m in zip(new, memory, strict=True))
    return [states, *memory]


def arguments(operator, directions, rng):
    """Types and arrays of everything that the operator takes."""
    rows = GATES[operator] * HIDDEN
    shapes = {
        "x": (TIME, COUNT, INPUTS), "w": (directions, rows, INPUTS),
        "r": (directions, rows, HIDDEN), "b": (directions, 2 * rows), "l": (COUNT,),
        "h": (directions, COUNT, HIDDEN),
    }  # fmt: skip
    if operator == "LSTM":
        shapes |= {"c": (directions, COUNT, HIDDEN), "p": (directions, 3 * HIDDEN)}
    arrays = [
        LENGTHS if name == "l" else rng.normal(size=shape).astype("f") / 2
        for name, shape in shapes.items()
    ]
    typed = ", ".join(
        f"{'int32' if name == 'l' else 'float'}[{','.join(map(str, shape))}] {name}"
        for name, shape in shapes.items()
    )
    return typed, ", ".join(shapes), arrays


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("operator", GATES)
def test_every_step(operator, direction, rng):
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    typed, names, arrays = arguments(operator, len(ways), rng)
    outputs = "y yh yc" if operator == "LSTM" else "y yh"
    body = f'{outputs.replace(" ", ", ")} = {operator}<direction="{direction}">({names})'
    found = run_everywhere(typed, body, *arrays, outputs=outputs)
    wide = [a.astype("d") for a in arrays]
    parts = zip(*(one_way(operator, wide, d, way) for d, way in enumerate(ways)), strict=True)
    wanted = [np.stack(part, 1 if k == 0 else 0) for k, part in enumerate(parts)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", GATES)
def test_batch_first(operator, rng):
    rows = GATES[operator] * HIDDEN
    x, w, r = (
        rng.normal(size=s).astype("f")
        for s in ((TIME, COUNT, INPUTS), (1, rows, INPUTS), (1, rows, HIDDEN))
    )
    typed = f"float[{{}}] x, float[1,{rows},{INPUTS}] w, float[1,{rows},{HIDDEN}] r"
    y, last = run(typed.format("4,3,2"), f"y, h = {operator}(x, w, r)", x, w, r, outputs="y h")
    body = f"y, h = {operator}<layout=1>(x, w, r)"
    turned, end = run(typed.format("3,4,2"), body, x.swapaxes(0, 1), w, r, outputs="y h")
    np.testing.assert_allclose(turned, y.transpose(2, 0, 1, 3), rtol=1e-6)
    np.testing.assert_allclose(end, last.swapaxes(0, 1), rtol=1e-6)


def test_activations_take_their_numbers_in_order():
    body = (
        "y = RNN<activations=[\"Affine\", \"ScaledTanh\"], activation_alpha=[2.0, 3.0],"
        "activation_beta=[0.5, 0.25], direction=\"bidirectional\", clip=4.0>(x, w, r)"
    )  # fmt: skip
    x, w, r = np.float32([[[1.5], [9]]]), np.ones((2, 1, 1), "f"), np.zeros((2, 1, 1), "f")
    (y,) = run_everywhere("float[1,2,1] x, float[2,1,1] w, float[2,1,1] r", body, x, w, r)
    kept = np.float32([1.5, 4])
    np.testing.assert_allclose(y[0, 0, :, 0], 2 * kept + 0.5)
    np.testing.assert_allclose(y[0, 1, :, 0], 3 * np.tanh(kept / 4), rtol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    ['activations=["Sine"]', 'activations=["Tanh", "Tanh"]', 'direction="bidirectional"'],
)
def test_options_that_do_not_fit(attributes):
    recurrent = model(
        "float[2,1,3] x, float[1,4,3] w, float[1,4,4] r", f"y = RNN<{attributes}>(x, w, r)"
    )
    with pytest.raises(UserError, match="GC0104"):
        recurrent(*recurrent.symbolic_inputs({}))


def test_the_number_of_steps_may_be_a_name():
    body = "y, h, c = LSTM(x, w, r)"
    recurrent = model("float[T,N,3] x, float[1,8,3] w, float[1,8,2] r", body, "y h c")
    found = recurrent(*recurrent.symbolic_inputs({}))
    assert [str(t.node.type) for t in found] == ["f32[T,1,N,2]", "f32[1,N,2]", "f32[1,N,2]"]


@pytest.mark.parametrize("operator", GATES)
def test_gradients_along_directions(operator, rng):
    typed, names, arrays = arguments(operator, 2, rng)
    steps = [gc.input(f"t{k}") for k, a in enumerate(arrays) if a.dtype.kind == "f"]
    rest = iter(steps)
    moved = [
        a + next(rest) * rng.normal(size=a.shape).astype("f") if a.dtype.kind == "f" else a
        for a in arrays
    ]
    y = model(typed, f'y = {operator}<direction="bidirectional">({names})')(*moved)
    loss = (y * rng.normal(size=y.shape)).sum()
    report = gc.check_grad(loss, steps, dict.fromkeys(steps, 0.0))
    assert report, report
