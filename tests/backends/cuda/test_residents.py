"""Parameters on a device: they stay there, and whoever asks for their numbers gets the newest."""

from __future__ import annotations

import shutil
from gc import collect

import numpy as np
import pytest

import graphc as gc
from graphc.backends.cuda import residents, sim
from graphc.ops.leaves import Storage
from graphc.types import FLOAT32

simulated = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler is here"
)


class Remote:
    """A replica in an array of its own, which counts copies."""

    def __init__(self) -> None:
        self.numbers, self.pushed, self.pulled = np.zeros(2, np.float32), 0, 0

    def push(self, array) -> None:
        self.numbers[...] = array
        self.pushed += 1

    def pull(self, array) -> None:
        array[...] = self.numbers
        self.pulled += 1


@pytest.fixture
def storage():
    return Storage([1, 2], FLOAT32)


# The storage --------------------------------------------------------------------------------------
def test_numbers_go_to_a_device_once(storage):
    remote = Remote()
    for _ in range(3):
        storage.lend(remote, changes=True)
    assert (remote.pushed, remote.numbers.tolist()) == (1, [1, 2])


def test_numbers_come_back_when_somebody_asks(storage):
    remote, place = Remote(), storage.array.ctypes.data
    storage.lend(remote, changes=True)
    remote.numbers += 1
    assert storage.array.tolist() == [2, 3]
    assert storage.array.ctypes.data == place
    assert remote.pulled == 1
    storage.array[0] = 7
    storage.lend(remote, changes=False)
    assert remote.numbers.tolist() == [7, 3], "the array may have been written to"


def test_looking_leaves_the_numbers_where_they_are(storage):
    remote = Remote()
    storage.lend(remote, changes=True)
    remote.numbers += 1
    moves = Storage.moves
    assert storage.peek().tolist() == storage.peek().tolist() == [2, 3]
    assert Storage.moves != moves, "a program must say again that it changes them"
    storage.lend(remote, changes=True)
    assert (remote.pushed, remote.pulled) == (1, 1)
    remote.numbers += 1
    assert storage.peek().tolist() == [3, 4]


def test_what_a_program_only_reads_is_not_copied_back(storage):
    remote = Remote()
    storage.lend(remote, changes=False)
    assert storage.array.tolist() == [1, 2]
    assert remote.pulled == 0


def test_numbers_go_from_device_to_device(storage):
    one, two = Remote(), Remote()
    storage.lend(one, changes=True)
    one.numbers += 1
    storage.lend(two, changes=False)
    assert two.numbers.tolist() == [2, 3]
    assert storage.array.tolist() == [2, 3]
    assert two.pulled == 0


def test_a_new_value_reaches_the_device(storage):
    remote = Remote()
    storage.lend(remote, changes=True)
    storage.assign([5, 6])
    storage.lend(remote, changes=True)
    assert remote.numbers.tolist() == [5, 6]


# Executables --------------------------------------------------------------------------------------
def steps(backend: str, w: gc.Tensor):
    """A step of training, and an evaluation."""
    x = gc.input("x", (2,))
    loss = ((x * w) ** 2).sum()
    (gradient,) = gc.grad(loss, [w])
    train = gc.compile([x], loss, updates={w: w - 0.125 * gradient}, backend=backend)
    return train, gc.compile([x], (x * w).sum(), backend=backend)


X = np.array([1, 2], np.float32)


@pytest.fixture
def copies(monkeypatch):
    """Counts what is copied of parameters."""
    counted = {"push": 0, "pull": 0}
    for name in counted:
        original = getattr(residents.Resident, name)

        def copy(self, array, name=name, original=original):
            counted[name] += 1
            original(self, array)

        monkeypatch.setattr(residents.Resident, name, copy)
    return counted


@simulated
def test_training_copies_no_parameter(copies):
    w, expected = gc.param([1.0, 2.0]), gc.param([1.0, 2.0])
    train, evaluate = steps("cuda-sim", w)
    reference, evaluate_reference = steps("numpy", expected)
    for _ in range(4):
        np.testing.assert_allclose(train(X), reference(X), rtol=1e-6)
        np.testing.assert_allclose(evaluate(X), evaluate_reference(X), rtol=1e-6)
    assert copies == {"push": 1, "pull": 0}
    np.testing.assert_allclose(gc.value(w), gc.value(expected), rtol=1e-6)
    train(X)
    reference(X)
    np.testing.assert_allclose(gc.value(w), gc.value(expected), rtol=1e-6)
    assert copies == {"push": 1, "pull": 2}


@simulated
def test_backends_take_turns():
    w, expected = gc.param([1.0, 2.0]), gc.param([1.0, 2.0])
    reference, _ = steps("numpy", expected)
    made = {backend: steps(backend, w) for backend in ("cuda-sim", "llvm", "numpy")}
    order = [
        "cuda-sim",
        "llvm",
        "llvm",
        "cuda-sim",
        "cuda-sim",
        "numpy",
        "cuda-sim",
        "llvm",
        "numpy",
    ]
    for backend in order:
        np.testing.assert_allclose(made[backend][0](X), reference(X), rtol=1e-5, err_msg=backend)
    gc.assign(w, gc.value(expected))
    for backend in made:
        found = made[backend][1](X)
        np.testing.assert_allclose(found, (X * gc.value(expected)).sum(), rtol=1e-6)


@simulated
def test_a_new_value_is_used_by_the_next_call():
    w = gc.param([1.0, 2.0])
    train, evaluate = steps("cuda-sim", w)
    train(X)
    gc.assign(w, [3.0, 4.0])
    assert evaluate(X) == 11


@simulated
def test_the_hosts_own_calls_are_direct_until_a_parameter_leaves():
    w = gc.param([1.0, 2.0])
    train, _ = steps("llvm", w)
    direct = train.compiled.runner.attempt
    assert train.attempt is direct
    train(X)
    assert train.attempt is direct
    device, _ = steps("cuda-sim", w)
    device(X)
    assert train.attempt is not direct
    train(X)
    assert train.attempt is direct


@simulated
def test_a_replica_goes_with_its_parameter():
    w = gc.param([1.0, 2.0])
    train, evaluate = steps("cuda-sim", w)
    train(X)
    known = residents._KNOWN[sim.device()]
    storage = w.node.op.storage
    assert storage in known
    before = len(known)
    del w, train, evaluate, storage
    collect()  # programs hold themselves in cycles
    assert len(known) < before
