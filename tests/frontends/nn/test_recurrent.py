"""Recurrent layers against loops in NumPy."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.graph import toposort
from running import assert_close, check_gradients, run


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(a, b, h, c):
    i, f, g, o = np.split(a + b, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(a, b, h, c):
    (ra, za, na), (rb, zb, nb) = np.split(a, 3, -1), np.split(b, 3, -1)
    r, z = sigmoid(ra + rb), sigmoid(za + zb)
    n = np.tanh(na + r * nb)
    return (1 - z) * n + z * h, c


STEPS = {
    nn.LSTM: lstm_step,
    nn.GRU: gru_step,
    nn.RNN: lambda a, b, h, c: (np.tanh(a + b), c),
}


def over_time(step, x, layer, suffix, h, c):
    """Hidden states ``[time, n, hidden]`` and the last (h, c)."""
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    held = [getattr(layer, name + suffix) for name in names]
    w, u, bi, bh = (0 if p is None else gc.value(p) for p in held)
    outputs = []
    for each in x[::-1] if suffix.endswith("reverse") else x:
        h, c = step(each @ w.T + bi, h @ u.T + bh, h, c)
        outputs.append(h)
    return np.stack(outputs[::-1] if suffix.endswith("reverse") else outputs), h, c


def stacked(step, x, layer, starts):
    """The outputs of all layers, and the last (h, c) of each layer and direction."""
    ends, k = [], 0
    while hasattr(layer, f"weight_ih_l{k}"):
        ways = [w for w in ("", "_reverse") if hasattr(layer, f"weight_ih_l{k}{w}")]
        outputs = []
        for way in ways:
            y, h, c = over_time(step, x, layer, f"_l{k}{way}", *starts[len(ends)])
            outputs.append(y)
            ends.append((h, c))
        x, k = np.concatenate(outputs, -1), k + 1
    return x, ends


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", STEPS)
def test_layers_and_directions(kind, bias, bidirectional, rng):
    layer = kind(3, 4, 2, bias=bias, bidirectional=bidirectional, rng=0)
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    count = 4 if bidirectional else 2
    starts = [tuple(rng.normal(size=(2, 2, 4)).astype(np.float32)) for _ in range(count)]
    zeros = [(np.zeros((2, 4), np.float32),) * 2] * count

    def checked(ours, theirs):
        (outputs, states), (expected, ends) = ours, theirs
        assert_close(outputs, expected, atol=1e-5)
        for state, end in zip(states, ends, strict=True):
            if kind is nn.LSTM:
                assert_close(state[0], end[0], atol=1e-5)
                assert_close(state[1], end[1], atol=1e-5)
            else:
                assert_close(state, end[0], atol=1e-5)

    checked(run(layer, x=x), stacked(STEPS[kind], x, layer, zeros))
    given = [tuple(map(gc.constant, s)) if kind is nn.LSTM else gc.constant(s[0]) for s in starts]
    checked(run(lambda x: layer(x, given), x=x), stacked(STEPS[kind], x, layer, starts))


@pytest.mark.parametrize("kind", STEPS)
def test_names_and_shapes_are_those_of_pytorch(kind):
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    layer = kind(3, 5, 2, bidirectional=True, rng=0)
    shapes = {name: p.shape for name, p in layer.named_state().items()}
    expected = {}
    for k, inputs in enumerate((3, 10)):
        for way in ("", "_reverse"):
            expected[f"weight_ih_l{k}{way}"] = (gates * 5, inputs)
            expected[f"weight_hh_l{k}{way}"] = (gates * 5, 5)
            expected[f"bias_ih_l{k}{way}"] = expected[f"bias_hh_l{k}{way}"] = (gates * 5,)
    assert shapes == expected
    assert list(shapes) == list(expected)
    assert np.abs(gc.value(layer.weight_hh_l1)).max() <= 5**-0.5


def test_the_second_half_goes_on_from_the_state_of_the_first(rng):
    layer = nn.LSTM(3, 4, layers=2, rng=0)
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    whole = run(layer, x=x)[0]
    later = run(lambda a, b: layer(b, layer(a)[1])[0], a=x[:2], b=x[2:])
    assert_close(later, whole[2:], atol=1e-5)


def test_batch_first(rng):
    layer = nn.GRU(3, 4, 2, batch_first=True, bidirectional=True, rng=0)
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    outputs, states = run(layer, x=x)
    layer.batch_first = False
    same, ends = run(layer, x=x.swapaxes(0, 1))
    assert_close(outputs, same.swapaxes(0, 1))
    for state, end in zip(states, ends, strict=True):
        assert_close(state, end)


@pytest.mark.parametrize("kind", STEPS)
def test_gradients(kind, rng):
    layer = kind(2, 3, 2, bidirectional=True, rng=0)
    x = rng.normal(size=(3, 1, 2))
    # Two layers, two ways, three steps, 100 weights: native code is faster at many evaluations.
    check_gradients(layer, rng, x, first=lambda outputs: outputs[0], backend="llvm")
    check_gradients(layer, rng, x, first=_states, backend="llvm")


def _states(outputs):
    return gc.stack(_flat(outputs[1]))


def _flat(states):
    return [s for state in states for s in (state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_is_one_step_of_a_layer(kind, rng):
    cell = kind(3, 4, rng=0)
    layer = {nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU, nn.RNNCell: nn.RNN}[kind](3, 4)
    layer.load_state_dict({f"{name}_l0": a for name, a in cell.state_dict().items()})
    x = rng.normal(size=(2, 2, 3)).astype(np.float32)
    once = run(lambda x: cell(x[1], cell(x[0])), x=x)
    outputs, (last,) = run(layer, x=x)
    assert_close(once[0] if kind is nn.LSTMCell else once, outputs[-1])
    if kind is nn.LSTMCell:
        assert_close(once[1], last[1])


def test_relu_in_place_of_tanh(rng):
    cell = nn.RNNCell(3, 4, nonlinearity="relu", bias=False, rng=0)
    assert list(cell.named_state()) == ["weight_ih", "weight_hh"]
    x = rng.normal(size=(2, 3)).astype(np.float32)
    assert_close(run(cell, x=x), np.maximum(x @ gc.value(cell.weight_ih).T, 0))
    assert nn.RNN(3, 4, nonlinearity="relu").recurrence is cell.recurrence


def test_dropout_acts_between_layers_in_training(rng):
    layer = nn.LSTM(3, 50, 2, dropout=0.5, rng=0)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    sequence = gc.input("x", x.shape)
    step = gc.compile([sequence], layer(sequence)[0], backend="numpy")
    assert (step(x) != step(x)).any()
    layer.eval()
    plain = nn.LSTM(3, 50, 2)
    plain.load_state_dict({k: a for k, a in layer.state_dict().items() if "between" not in k})
    assert_close(run(layer, x=x)[0], run(plain, x=x)[0])


def test_empty_batch():
    outputs, _ = run(nn.GRU(3, 4, rng=0), x=np.zeros((2, 0, 3), np.float32))
    assert outputs.shape == (2, 0, 4)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.GRU(3, 4)(gc.zeros((2, 3))), "GC0103"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), "GC0104"),
        (lambda: nn.GRU(3, 4, 2)(gc.zeros((2, 2, 3)), [gc.zeros((2, 4))]), "GC0104"),
        (lambda: nn.LSTM(3, 4)(gc.zeros((2, 2, 3)), [gc.zeros((2, 4))]), "GC0104"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()


@pytest.mark.parametrize("kind", STEPS)
def test_one_step_from_zeros_has_all_gradients(kind, rng):
    layer = kind(2, 3, rng=0)
    check_gradients(layer, rng, rng.normal(size=(1, 2, 2)), first=lambda outputs: outputs[0])


# Many steps ---------------------------------------------------------------------------------------
def scans(tensors):
    return [n for n in toposort([t.node for t in tensors]) if n.op.name == "scan"]


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("kind", STEPS)
def test_a_scan_gives_what_written_out_steps_give(kind, backend, rng):
    written, looped = (kind(3, 4, bidirectional=True, unroll=unroll, rng=0) for unroll in (4, 3))
    x = gc.input("x", (4, 2, 3))
    results = []
    for layer in (written, looped):
        outputs, states = layer(x)
        loss = (outputs * outputs).sum() + sum(s.sum() for s in _flat(states))
        parameters = [getattr(layer, name) for name in layer.named_state()]
        results.append([outputs, *_flat(states), *gc.grad(loss, [x, *parameters])])
    assert not scans(results[0])
    assert scans(results[1])
    array = rng.normal(size=(4, 2, 3)).astype(np.float32)
    first, second = (gc.compile([x], r, backend=backend)(array) for r in results)
    for a, b in zip(first, second, strict=True):
        assert_close(a, b, atol=2e-5)


def test_the_number_of_steps_may_have_a_name(rng):
    layer = nn.GRU(3, 4, rng=0)
    x = gc.input("x", ("time", 2, 3))
    f = gc.compile([x], layer(x)[0])
    for steps in (1, 5, 300, 0):
        array = rng.normal(size=(steps, 2, 3)).astype(np.float32)
        wanted = stacked(gru_step, array, layer, [(np.zeros((2, 4)), None)])[0] if steps else []
        assert_close(f(array), np.reshape(wanted, (steps, 2, 4)).astype(np.float32), atol=1e-5)


def test_long_sequences_are_compiled_in_constant_time():
    layer, x = nn.LSTM(3, 4, rng=0), gc.input("x", (1000, 2, 3))
    assert len(toposort([layer(x)[0].node])) < 100
