"""Modules: finding parameters, names, scopes, modes, saved state."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run


class Net(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), gc.relu)
        self.heads = [nn.Linear(4, 1, rng=1), nn.Linear(4, 2, rng=2)]
        self.scale = gc.param(np.ones(()), name="scale")
        self.first = self.body[0]

    def forward(self, x):
        y = self.body(x) * self.scale
        return [head(y) for head in self.heads]


def test_parameters_have_dotted_names():
    net = Net()
    assert list(net.named_state()) == [
        "scale",
        "body.0.weight",
        "body.0.bias",
        "body.1.weight",
        "body.1.bias",
        "body.1.running_mean",
        "body.1.running_var",
        "body.1.num_batches_tracked",
        "heads.0.weight",
        "heads.0.bias",
        "heads.1.weight",
        "heads.1.bias",
        "first.weight",
        "first.bias",
    ]
    assert "body.1.running_mean" not in net.named_parameters()
    assert "first.weight" not in net.named_parameters()
    assert len(net.parameters()) == len({id(p) for p in net.parameters()}) == 9
    assert net.parameters() == list(net.named_parameters().values())


def test_calls_open_scopes():
    outputs = Net()(gc.input("x", (2, 3)))
    assert outputs[1].node.site.scope == ("net", "heads.1")
    layered = nn.Sequential(nn.Linear(3, 4), nn.Tanh())(gc.zeros((1, 3)))
    assert layered.node.site.scope == ("sequential", "1_tanh")


def test_modes_reach_every_module():
    net = Net().eval()
    assert not any(m.training for _, m in net.named_modules())
    net.train()
    assert all(m.training for _, m in net.named_modules())
    assert net.updates() == {}
    net(gc.zeros((2, 3)))
    norm = net.body[1]
    assert set(net.updates()) == {norm.running_mean, norm.running_var, norm.num_batches_tracked}


def test_state_goes_round():
    net, other = Net(), Net()
    for p in net.named_state().values():
        gc.assign(p, np.random.default_rng(0).uniform(0.1, 1, p.shape))
    x = np.ones((2, 3), np.float32)
    before = run(other.eval(), x=x)
    other.load_state_dict(net.state_dict())
    after = run(other, x=x)
    assert (before[0] != after[0]).any()
    assert_close(after[0], run(net.eval(), x=x)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale"), "scale is missing"),
        (lambda s: s.update(more=np.zeros(2)), "more is unknown"),
        (lambda s: s.update(scale=np.zeros(2)), r"scale is f32\[\], saved float64\[2\]"),
        (lambda s: s.update(scale=np.array(1j)), "scale is"),
        (lambda s: s.clear(), "14 problems in all"),
    ],
)
def test_state_that_does_not_fit_changes_nothing(change, message):
    net = Net()
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    change(state)
    with pytest.raises(gc.UserError, match=message) as caught:
        net.load_state_dict(state)
    assert caught.value.code == "GC0502"
    assert all((before[name] == array).all() for name, array in net.state_dict().items())


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError):
        nn.Module()(1)


def test_a_model_prints_its_layers():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 1, bias=False)))
    assert repr(model).splitlines() == [
        "Sequential()",
        "  0: Linear(weight: f32[2,3], bias: f32[2])",
        "  1: ReLU()",
        "  2: Sequential()",
        "  2.0: Linear(weight: f32[1,2])",
    ]


def test_a_checkpoint_may_leave_out_random_generators():
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5, seed=7))
    before = model.state_dict()
    model.load_state_dict({n: a for n, a in before.items() if n.startswith("0.")})
    assert (model.state_dict()["1.random"] == before["1.random"]).all()
    model.load_state_dict(before | {"1.random": before["1.random"] + 1})
    assert (model.state_dict()["1.random"] != before["1.random"]).all()
    with pytest.raises(gc.UserError, match=r"1\.chance is unknown"):
        model.load_state_dict(before | {"1.chance": np.zeros(3)})


def test_parameters_of_another_dtype(rng):
    model = nn.Sequential(nn.Conv1d(2, 3, 2, rng=0), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model.again = model[0]
    before = model.state_dict()
    x = rng.normal(size=(2, 2, 4))
    with pytest.raises(gc.UserError, match="GC0102"):
        run(model.eval(), x=x)
    assert model.astype("float64") is model
    assert model.again is model[0]
    after = model.state_dict()
    kinds = {name: array.dtype.name for name, array in after.items()}
    assert kinds.pop("1.num_batches_tracked") == "int64"
    assert kinds.pop("2.random") == "uint32"
    assert set(kinds.values()) == {"float64"}
    assert all((before[name] == array).all() for name, array in after.items())
    assert [p.name for p in model.parameters()] == ["weight", "bias", "weight", "bias"]
    assert run(model, x=x).dtype == np.float64


def test_shared_parameters_stay_shared_in_another_dtype():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    model = nn.Sequential(first, second).astype("float64")
    assert first.weight is second.weight
    assert len(model.parameters()) == 3


@pytest.mark.parametrize(
    ("model", "dtype", "code"),
    [
        (nn.Linear(2, 2), "int32", "GC0102"),
        (nn.Linear(2, 2), "float31", "GC0105"),
        (nn.weight_norm(nn.Linear(2, 2)), "float64", "GC0107"),
    ],
)
def test_dtypes_that_parameters_cannot_have(model, dtype, code):
    with pytest.raises(gc.UserError, match=code):
        model.astype(dtype)
    assert all(p.dtype == "float32" for p in model.parameters())
