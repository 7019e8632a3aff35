"""Reads ahead: a thread makes the next batches while the program computes with the last ones.

Comes in: an iterable. Goes out: the same items in the same order. A separate step because only here
two threads meet; what makes the items and what uses them know nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Any, TypeVar

from graphc.errors import UserError

Item = TypeVar("Item")

NAME = "graphc-prefetch"


@dataclass(frozen=True)
class _End:
    """What comes behind the last item: the exception that ended the making, if one did."""

    error: BaseException | None = None


@dataclass(frozen=True, eq=False)
class _Line:
    """Between the two threads: what is made, how much more may be, and whether to go on."""

    room: Semaphore
    made: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    stopped: Event = field(default_factory=Event)

    def has_room(self) -> bool:
        """Waits for room; false when no more is wanted."""
        self.room.acquire()
        return not self.stopped.is_set()

    def stop(self) -> None:
        """Wakes the thread that waits for room, to end it."""
        self.stopped.set()
        self.room.release()


def prefetch(source: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The items of ``source``, up to ``depth`` of them made ahead of time by a thread.

    The thread starts with the first item. It ends with the last one, with an exception of the
    source, which is raised here with its traceback, or when nobody wants more: on a `break`, on
    Ctrl-C, when the iterator is closed or forgotten. It finishes the item it is making then.
    Raises `UserError` GC0104 for a depth below 1.
    """
    if depth < 1:
        raise UserError("GC0104", f"prefetch with depth={depth}", fix="use 1 or more")
    return _consumed(source, depth)


def _consumed(source: Iterable[Item], depth: int) -> Iterator[Item]:
    line = _Line(Semaphore(depth))
    # A daemon, so that a program can end while an iterator is still there.
    Thread(target=_make, args=(source, line), name=NAME, daemon=True).start()
    try:
        while not isinstance(item := line.made.get(), _End):
            line.room.release()
            yield item
    finally:
        line.stop()
    if item.error is not None:
        raise item.error


def _make(source: Iterable[Any], line: _Line) -> None:
    """What the thread does: items, as long as there is room for them."""
    try:
        items = iter(source)
        while line.has_room():
            line.made.put(next(items))
    except StopIteration:
        line.made.put(_End())
    except BaseException as error:  # whatever it is, the consumer must see it
        line.made.put(_End(error))
