"""The fit loop and checkpoints."""

import io
import os

import numpy as np
import pytest
from rich.console import Console

import graphc as gc
from graphc import nn, optim, training

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)


def make(seed=0):
    model = nn.Sequential(
        nn.Linear(3, 8, rng=seed), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2, rng=seed)
    )
    optimiser = optim.Adam(0.02)
    x, y = gc.input("x", ("n", 3)), gc.input("y", ("n",), "int64")
    scores = model(x)
    loss = nn.cross_entropy(scores, y)
    outputs = {"loss": loss, "accuracy": nn.accuracy(scores, y)}
    updates = optimiser.updates(loss, model.parameters())
    return model, optimiser, gc.compile([x, y], outputs, updates, backend="numpy")


def batches(size=4):
    return [(X[k : k + size], Y[k : k + size]) for k in range(0, len(X), size)]


def test_fit_learns_and_reports():
    text = io.StringIO()
    _, _, step = make()
    history = training.fit(
        step,
        batches,
        epochs=30,
        validate=lambda: {"valid": 0.5},
        console=Console(file=text, width=120),
    )
    assert len(history.epochs) == 30
    assert history.last["loss"] < 0.5 * history.epochs[0]["loss"]
    assert history.last["valid"] == 0.5
    assert not history.interrupted
    assert "epoch 30/30  loss" in text.getvalue()


def test_metrics_are_means_over_examples():
    losses = iter([1.0, 4.0])
    history = training.fit(lambda x: next(losses), [np.zeros(6), np.zeros(2)], quiet=True)
    assert history.last == {"loss": pytest.approx((6 * 1 + 2 * 4) / 8)}
    pairs = training.fit(lambda x: (1.0, 2.0), [np.zeros(6)], quiet=True)
    assert pairs.last == {"loss": 1.0, "metric1": 2.0}


def test_after_epoch_may_stop():
    seen = []

    def enough(epoch, metrics):
        seen.append((epoch, metrics["loss"]))
        return epoch == 2

    training.fit(lambda x: 1.0, [np.zeros(1)], epochs=9, after_epoch=enough, quiet=True)
    assert seen == [(1, 1.0), (2, 1.0)]


def test_ctrl_c_ends_the_training_and_keeps_the_parameters():
    model, _, step = make()
    calls = []

    def interrupted(x, y):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(x, y)

    before = gc.value(model[0].weight)
    history = training.fit(interrupted, batches(), epochs=9, quiet=True)
    assert history.interrupted
    assert len(history.epochs) == 1
    assert (gc.value(model[0].weight) != before).any()


def test_a_checkpoint_continues_exactly_where_it_was(tmp_path):
    path = tmp_path / "model.npz"
    model, optimiser, step = make()
    training.fit(step, batches(), epochs=2, quiet=True)
    training.save(path, model=model, optimiser=optimiser)
    expected = training.fit(step, batches(), epochs=2, quiet=True)

    other, memory, again = make(seed=5)
    training.load(path, model=other, optimiser=memory)
    assert training.fit(again, batches(), epochs=2, quiet=True).epochs == expected.epochs
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    model, optimiser, _ = make()
    training.save(path, model=model)
    with pytest.raises(gc.UserError, match="GC0502"):
        training.load(path, model=model, optimiser=optimiser)
    with pytest.raises(gc.UserError, match="GC0502"):
        training.load(path, model=nn.Linear(3, 3))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"not a zip file"])
def test_a_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(gc.UserError, match="GC0501"):
        training.load(path, model=nn.Linear(3, 3))
    with pytest.raises(gc.UserError, match="GC0501"):
        training.load(tmp_path / "nowhere.npz", model=nn.Linear(3, 3))


@pytest.mark.parametrize("place", ["compression", "version", "flags", "data", "size"])
def test_an_archive_with_a_wrong_byte_is_refused(tmp_path, place):
    path = tmp_path / "model.npz"
    np.savez_compressed(path, x=np.arange(100.0))
    content = bytearray(path.read_bytes())
    entry, data = content.index(b"PK\x01\x02"), content.index(b"x.npy") + 25
    where = {"compression": entry + 10, "version": entry + 6, "flags": entry + 8, "data": data}
    if place == "size":
        np.savez(path, x=np.arange(100.0))
        content = path.read_bytes().replace(b"(100,)", b"(1e9,)")
    else:
        content[where[place]] = 0xFF
    path.write_bytes(content)
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(path)


def test_objects_in_a_file_are_not_unpacked(tmp_path):
    path = tmp_path / "model.npz"
    layer = nn.Linear(1, 1)
    np.savez(path, **{"model.weight": np.array([{"a": 1}], object), "model.bias": np.zeros(1)})
    with pytest.raises(gc.UserError, match="GC0501"):
        training.load(path, model=layer)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    layer = nn.Linear(2, 2)
    training.save(path, model=layer)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        training.save(path, model=layer)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_checkpoint_has_the_mode_of_any_new_file(tmp_path):
    training.save(tmp_path / "model.npz", model=nn.Linear(1, 1))
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "model.npz").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_only_what_has_a_state_is_saved(tmp_path):
    with pytest.raises(gc.UserError, match="GC0107: w is a Tensor"):
        training.save(tmp_path / "model.npz", w=gc.param(np.zeros(2)))
    assert os.listdir(tmp_path) == []
