"""Batches epoch after epoch: the same with the same seed, and continued where they were."""

import threading

import numpy as np
import pytest

import graphc as gc
from graphc import training
from graphc.frontends.data import prefetch
from graphc.frontends.data.prefetch import NAME

ROWS = np.arange(23)


def loader(**options):
    return training.DataLoader([ROWS, ROWS * 10], 4, **{"seed": 0} | options)


def epochs(data, count):
    return [[batch.tolist() for batch, _ in data] for _ in range(count)]


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_epochs_differ_and_repeat_with_the_seed(ahead):
    first, again, other = (epochs(loader(seed=k, ahead=ahead), 3) for k in (0, 0, 1))
    assert first == again
    assert first != other
    assert first[0] != first[1]
    assert first == epochs(loader(ahead=0), 3)
    assert epochs(loader(seed=None), 1)[0] == ROWS[:20].reshape(5, 4).tolist()


def test_rows_stay_together():
    assert all((tens == rows * 10).all() for rows, tens in loader())
    assert len(loader()) == 5
    assert len(loader(drop_last=False)) == 6
    assert len(list(loader(drop_last=False))) == 6


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("ahead", [0, 3])
def test_a_broken_off_epoch_goes_on(tmp_path, ahead, stop):
    path = tmp_path / "data.npz"
    expected = epochs(loader(), 3)
    data = loader(ahead=ahead)
    seen = epochs(data, 1)
    part = []
    for batch, _ in data:
        part.append(batch.tolist())
        if len(part) == stop:
            break
    gc.save(path, data=data)
    other = loader(ahead=ahead)
    gc.load(path, data=other)
    assert (other.epoch, other.position) == (1, stop)
    assert len(other) == (5 - stop or 5)
    if stop < 5:
        part += epochs(other, 1)[0]
    assert [*seen, part, *epochs(other, 1)] == expected


def test_a_training_takes_it_and_no_thread_is_left():
    data = loader()
    history = training.fit(lambda rows, tens: float(rows.mean()), data, 3, quiet=True)
    assert len(history.epochs) == 3
    assert data.epoch == 3
    for thread in threading.enumerate():
        if thread.name == NAME:
            thread.join(10)
            assert not thread.is_alive()


def test_a_training_stopped_by_ctrl_c_leaves_no_thread():
    def step(rows, tens):
        raise KeyboardInterrupt

    assert training.fit(step, lambda: prefetch(loader()), 3, quiet=True).interrupted
    for thread in threading.enumerate():
        if thread.name == NAME:
            thread.join(10)
            assert not thread.is_alive()


def test_nothing_to_do():
    empty = training.DataLoader([np.zeros((0, 3))], 4)
    assert list(empty) == list(empty) == []
    with pytest.raises(gc.UserError, match="GC0104"):
        training.DataLoader([ROWS], 0)
    with pytest.raises(gc.UserError, match="GC0303"):
        training.DataLoader([ROWS, ROWS[1:]], 2)
