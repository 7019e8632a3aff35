"""Normalisation layers against NumPy, their memory and their gradients."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def standard(x, axes, epsilon=1e-5):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + epsilon)


def disturb(layer, rng):
    """Other values than the ones and zeros that layers start with."""
    for p in layer.parameters():
        gc.assign(p, rng.uniform(0.5, 1.5, p.shape))


def column(values, rank):
    return gc.value(values).reshape(-1, *[1] * (rank - 2))


def test_layer_norm(rng):
    layer = nn.LayerNorm((3, 4))
    disturb(layer, rng)
    x = rng.normal(2, 3, size=(2, 3, 4)).astype(np.float32)
    expected = standard(x, (1, 2)) * gc.value(layer.weight) + gc.value(layer.bias)
    assert_close(run(layer, x=x), expected, atol=1e-5)
    check_gradients(layer, rng, x)
    assert list(nn.LayerNorm(4, bias=False).named_state()) == ["weight"]
    plain = nn.LayerNorm(4, affine=False)
    assert not plain.named_state()
    assert_close(run(plain, x=x), standard(x, -1), atol=1e-5)


def test_rms_norm(rng):
    layer = nn.RMSNorm(4, 1e-3)
    disturb(layer, rng)
    x = rng.normal(2, 3, size=(2, 3, 4)).astype(np.float32)
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-3) * gc.value(layer.weight)
    assert_close(run(layer, x=x), expected)
    check_gradients(layer, rng, x)
    small = np.full((1, 4), 1e-9)
    root = np.sqrt(1e-18 + np.finfo(np.float64).eps)
    assert_close(run(nn.RMSNorm(4, affine=False), x=small), small / root)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm(groups, rng):
    layer = nn.GroupNorm(groups, 6)
    disturb(layer, rng)
    x = rng.normal(1, 2, size=(2, 6, 3, 5)).astype(np.float32)
    y = standard(x.reshape(2, groups, -1), -1).reshape(x.shape)
    expected = y * column(layer.weight, 4) + column(layer.bias, 4)
    assert_close(run(layer, x=x), expected, atol=1e-5)
    check_gradients(layer, rng, x[:1, :, :2, :2])


NORMS = {
    3: (nn.BatchNorm1d, nn.InstanceNorm1d),
    4: (nn.BatchNorm2d, nn.InstanceNorm2d),
    5: (nn.BatchNorm3d, nn.InstanceNorm3d),
}
SHAPES = {2: (5, 3), 3: (4, 3, 6), 4: (4, 3, 2, 5), 5: (2, 3, 2, 3, 4)}


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("rank", "instance"), [(2, 0), *((r, k) for r in NORMS for k in (0, 1))])
def test_running_statistics(rank, instance, momentum, rng):
    kind = NORMS[max(rank, 3)][instance]
    layer = kind(3, momentum=momentum, affine=True, track_running_stats=True)
    disturb(layer, rng)
    shape = SHAPES[rank]
    axes = tuple(range(2, rank)) if instance else (0, *range(2, rank))
    x = gc.input("x", shape)
    step = gc.compile([x], layer(x), layer.updates(), backend="numpy")
    scale, shift = (gc.value(p).reshape(1, 3, *[1] * (rank - 2)) for p in layer.parameters())
    mean, var = np.zeros(3), np.ones(3)
    for call in range(1, 4):
        a = rng.normal(1, 2, shape).astype(np.float32)
        rate = momentum or 1 / call
        assert_close(step(a), standard(a, axes) * scale + shift, atol=1e-5)
        by_channel = [s.reshape(-1, 3).mean(0) for s in (a.mean(axes), a.var(axes, ddof=1))]
        both = zip((mean, var), by_channel, strict=True)
        mean, var = ((1 - rate) * old + rate * new for old, new in both)
    assert_close(gc.value(layer.running_mean), mean.astype("f"))
    assert_close(gc.value(layer.running_var), var.astype("f"))
    assert gc.value(layer.num_batches_tracked) == 3
    recorded = layer.updates()
    layer.eval()
    place = (3, *[1] * (rank - 2))
    expected = (a - mean.reshape(place)) / np.sqrt(var.reshape(place) + 1e-5) * scale + shift
    assert_close(run(layer, x=a), expected.astype("f"), atol=1e-5)
    assert layer.updates() == recorded
    layer.train()
    check_gradients(layer, rng, a)


def test_without_parameters_and_memory(rng):
    x = rng.normal(1, 2, size=SHAPES[4]).astype(np.float32)
    instance = nn.InstanceNorm2d(3)
    assert not instance.named_state()
    assert_close(run(instance.eval(), x=x), standard(x, (2, 3)), atol=1e-5)
    batch = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not batch.named_state()
    assert_close(run(batch.eval(), x=x), standard(x, (0, 2, 3)), atol=1e-5)
    assert not batch.updates()


def test_names_are_those_of_a_checkpoint_of_pytorch():
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    layer = nn.BatchNorm2d(3)
    assert list(layer.named_state()) == names
    state = layer.state_dict() | {"num_batches_tracked": np.array(7)}
    layer.load_state_dict(state)
    assert gc.value(layer.num_batches_tracked) == 7


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_local_response_norm(size, rng):
    layer = nn.LocalResponseNorm(size, alpha=0.5, beta=0.6, k=2.0)
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    expected = np.zeros_like(x)
    for c in range(5):
        near = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        expected[:, c] = x[:, c] / (2 + 0.5 / size * (near * near).sum(1)) ** 0.6
    assert_close(run(layer, x=x), expected)
    check_gradients(layer, rng, x)
    assert run(layer, x=x[..., 0]).shape == (2, 5)


@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm_splits_size_and_direction(dim, rng):
    layer = nn.Linear(4, 3, rng=0)
    weight = gc.value(layer.weight)
    assert nn.weight_norm(layer, dim=dim) is layer
    assert set(layer.named_state()) == {"bias", "weight_g", "weight_v"}
    axes = None if dim is None else 1 - dim % 2
    sizes = np.sqrt((weight**2).sum(axes, keepdims=dim is not None))
    assert_close(gc.value(layer.weight_g), sizes)
    x = rng.normal(size=(2, 4)).astype(np.float32)
    bias = gc.value(layer.bias)
    assert_close(run(layer, x=x), x @ weight.T + bias)
    gc.assign(layer.weight_g, 3 * sizes)
    gc.assign(layer.weight_v, 5 * weight)
    assert_close(run(layer, x=x), 3 * x @ weight.T + bias, atol=1e-5)
    check_gradients(layer, rng, x)


def test_weight_norm_of_a_vector(rng):
    layer = nn.weight_norm(nn.Linear(2, 3, rng=0), "bias")
    assert gc.value(layer.bias_g).shape == (3,)
    check_gradients(layer, rng, rng.normal(size=(1, 2)))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.BatchNorm2d(3)(gc.zeros((2, 3))), "GC0103"),
        (lambda: nn.BatchNorm1d(3)(gc.zeros((2, 4))), "GC0101"),
        (lambda: nn.InstanceNorm1d(3)(gc.zeros((2, 3))), "GC0103"),
        (lambda: nn.GroupNorm(4, 6), "GC0104"),
        (lambda: nn.GroupNorm(2, 6)(gc.zeros((2, 4, 3))), "GC0101"),
        (lambda: nn.LayerNorm((3, 4))(gc.zeros((2, 1, 4))), "GC0101"),
        (lambda: nn.RMSNorm(3)(gc.zeros((2, 4))), "GC0101"),
        (lambda: nn.LocalResponseNorm(3)(gc.zeros(4)), "GC0103"),
        (lambda: nn.LocalResponseNorm(0)(gc.zeros((2, 4))), "GC0104"),
        (lambda: nn.weight_norm(nn.Linear(2, 3), "wait"), "GC0107"),
        (lambda: nn.weight_norm(nn.Linear(2, 3), dim=2), "GC0104"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()
