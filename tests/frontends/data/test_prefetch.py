"""Reading ahead: order, exceptions, and no thread that stays behind."""

import gc as garbage
import itertools
import signal
import threading
import time
import traceback

import pytest

from graphc.errors import UserError
from graphc.frontends.data import prefetch
from graphc.frontends.data.prefetch import NAME


def threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def assert_no_thread_is_left():
    end = time.monotonic() + 10
    while threads() and time.monotonic() < end:
        time.sleep(0.001)
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2, 50])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_items_keep_their_order(count, depth):
    assert list(prefetch(range(count), depth)) == list(range(count))
    assert_no_thread_is_left()


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_there_is_room_for(depth):
    made = []

    def source():
        for number in itertools.count():
            made.append(number)
            yield number

    items = prefetch(source(), depth)
    assert next(items) == 0
    end = time.monotonic() + 10
    while len(made) < depth + 1 and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == list(range(depth + 1))
    items.close()
    assert_no_thread_is_left()


def test_the_source_is_made_in_another_thread():
    names = list(prefetch(threading.current_thread().name for _ in range(2)))
    assert names == [NAME, NAME]


def failing():
    yield 1
    raise KeyError("a broken example")


def test_an_exception_travels_with_its_traceback():
    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(KeyError, match="a broken example") as caught:
        next(items)
    lines = "".join(traceback.format_exception(caught.value))
    assert "in failing" in lines
    assert "in _make" in lines
    assert next(items, "nothing more") == "nothing more"
    assert_no_thread_is_left()


def test_an_exception_of_the_beginning_travels_too():
    with pytest.raises(TypeError, match="not iterable"):
        next(prefetch(7))


def test_no_thread_before_the_first_item():
    items = prefetch(range(3))
    assert not threads()
    assert next(items) == 0


def stopped_by_break():
    for item in prefetch(itertools.count()):
        if item == 3:
            break


def interrupted():
    for item in prefetch(itertools.count()):
        if item == 3:
            raise KeyboardInterrupt


def stopped_by_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        interrupted()


def stopped_by_close():
    items = prefetch(itertools.count())
    next(items)
    items.close()


def stopped_because_forgotten():
    items = prefetch(itertools.count())
    next(items)
    inside = [items]
    inside.append(inside)
    del items, inside
    garbage.collect()


@pytest.mark.parametrize(
    "stop", [stopped_by_break, stopped_by_ctrl_c, stopped_by_close, stopped_because_forgotten]
)
def test_the_thread_ends_when_nobody_wants_more(stop):
    stop()
    assert_no_thread_is_left()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals between threads")
def test_ctrl_c_while_waiting_for_an_item():
    enough = threading.Event()

    def source():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        yield enough.wait(10)

    with pytest.raises(KeyboardInterrupt):
        next(prefetch(source()))
    enough.set()
    assert_no_thread_is_left()


def test_the_source_is_closed_when_nobody_wants_more():
    closed = threading.Event()

    def source():
        try:
            yield from itertools.count()
        finally:
            closed.set()

    items = prefetch(source())
    next(items)
    items.close()
    del items
    assert closed.wait(10)


def test_a_depth_is_at_least_1():
    with pytest.raises(UserError, match="GC0104"):
        prefetch([1], 0)
