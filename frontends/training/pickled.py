"""Reads pickles without obeying them: a machine for the few instructions that plain data needs.

Comes in: a pickle, and values for the names that it may use. Goes out: dicts, lists, tuples,
strings, numbers, and what the given makers make. A separate step because a pickle is a program:
Python's own reader imports and calls whatever it names. Here instructions are only listed (by
`pickletools`), nothing is imported, a name that is not given is an error, and so is every
instruction that is not in the table below.

Source: the docstrings of `pickletools`, which describe the stack machine.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST = 2**24
"""Bytes in a pickle: it names arrays, whose numbers lie elsewhere."""
Simple = str | int | float | bool | None


class Refused(ValueError):
    """The pickle asks for something that is no plain data."""


@dataclass(frozen=True)
class Maker:
    """A function that a pickle may ask to be called; it checks its arguments itself."""

    function: Callable[..., Any]


@dataclass
class _Machine:
    names: Mapping[str, Any]
    found: Callable[[Any], Any]
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        """The top of the stack, above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("it takes more from the stack than there is")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        """The top of the stack, left there, which is a ``kind``."""
        value = self.pop()
        if not isinstance(value, kind):
            raise Refused(f"it changes a {type(value).__name__} as if it were a {kind.__name__}")
        self.stack.append(value)
        return value

    def above(self) -> list[Any]:
        """All above the last mark; the mark is gone then."""
        if not self.marks:
            raise Refused("it takes a mark from the stack that is not there")
        place = self.marks.pop()
        taken = self.stack[place:]
        del self.stack[place:]
        return taken

    def name(self, module: Any, name: Any) -> Any:
        """The value of a name. Raises `Refused` for one that is not given."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("it asks for a name that is no text")
        dotted = f"{module}.{name}"
        if dotted not in self.names:
            raise Refused(f"it asks for {dotted[:100]}, which is no plain data, and was not run")
        return self.names[dotted]


def read(pickle: bytes, names: Mapping[str, Any], found: Callable[[Any], Any]) -> Any:
    """What the pickle describes.

    ``names`` are the globals that it may use, each a value or a `Maker`; ``found`` turns what it
    calls persistent, that is kept elsewhere, into a value. Raises `Refused`, ValueError.
    """
    if len(pickle) > LONGEST:
        raise Refused(f"its pickle has {len(pickle)} bytes, more than the {LONGEST} allowed")
    machine = _Machine(names, found)
    for code, argument, _ in pickletools.genops(pickle):
        if code.name == "STOP":
            return machine.pop()
        if code.name in _CONSTANTS:
            machine.stack.append(argument)
        elif code.name in _STEPS:
            _STEPS[code.name](machine, argument)
        else:
            raise Refused(f"its instruction {code.name} is not one of plain data")
    raise Refused("it has no end")


_CONSTANTS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
"""Instructions that put their argument on the stack."""


# The instructions ---------------------------------------------------------------------------------
def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, argument: Any) -> None:
        taken = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(taken)))

    return step


def _constant(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(make())


def _mark(machine: _Machine, argument: Any) -> None:
    machine.marks.append(len(machine.stack))


def _tuple(machine: _Machine, argument: Any) -> None:
    machine.stack.append(tuple(machine.above()))


def _put(machine: _Machine, argument: Any) -> None:
    """Remember the top of the stack: by number, or by the next one."""
    place = len(machine.memory) if argument is None else argument
    machine.memory[place] = machine.top(object)


def _get(machine: _Machine, argument: Any) -> None:
    if argument not in machine.memory:
        raise Refused("it reads from memory what was not put there")
    machine.stack.append(machine.memory[argument])


def _append(machine: _Machine, argument: Any) -> None:
    item = machine.pop()
    machine.top(list).append(item)


def _appends(machine: _Machine, argument: Any) -> None:
    items = machine.above()
    machine.top(list).extend(items)


def _set_item(machine: _Machine, argument: Any) -> None:
    item, key = machine.pop(), machine.pop()
    _set(machine.top(dict), key, item)


def _set_items(machine: _Machine, argument: Any) -> None:
    items = machine.above()
    if len(items) % 2:
        raise Refused("it sets items in a dict that are no pairs")
    into = machine.top(dict)
    for key, item in zip(items[::2], items[1::2], strict=True):
        _set(into, key, item)


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.name(module, name))


def _stack_global(machine: _Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(machine.name(module, name))


def _reduce(machine: _Machine, argument: Any) -> None:
    arguments, maker = machine.pop(), machine.pop()
    if not isinstance(maker, Maker) or not isinstance(arguments, tuple):
        raise Refused("it calls what is no function")
    try:
        machine.stack.append(maker.function(*arguments))
    except TypeError as error:
        raise Refused("it calls a function with other arguments than it takes") from error


def _build(machine: _Machine, argument: Any) -> None:
    """Attributes of a dict, such as the versions in a state dict: they are left out."""
    machine.pop()
    machine.top(dict)


def _persistent(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.found(machine.pop()))


def _set(into: dict[Any, Any], key: Any, item: Any) -> None:
    """Keys are simple: the hash of nested tuples would recurse without end."""
    if not isinstance(key, Simple):
        raise Refused(f"a {type(key).__name__} is the key of a dict")
    into[key] = item


_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "MARK": _mark,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _put,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
