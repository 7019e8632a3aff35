"""Nested tuples, lists and dicts of values: taken apart, and put together again.

Comes in: what a user returns from a model or passes to one. Goes out: a flat list, and a function
that rebuilds the same nesting from new leaves. A separate step because graphs have flat outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

Rebuild = Callable[[Sequence[Any]], Any]


def flatten(value: Any) -> tuple[list[Any], Rebuild]:
    """The leaves of ``value`` in order, and the function that makes the same nesting of others."""
    leaves: list[Any] = []
    plan = _plan(value, leaves)
    return leaves, itemgetter(0) if plan is next else lambda new: plan(iter(new))


def _plan(value: Any, leaves: list[Any]) -> Callable[[Iterator[Any]], Any]:
    if isinstance(value, dict):
        plans = {key: _plan(inner, leaves) for key, inner in value.items()}
        return lambda new: {key: plan(new) for key, plan in plans.items()}
    if isinstance(value, tuple | list):
        parts = [_plan(inner, leaves) for inner in value]
        kind = _maker(type(value))
        return lambda new: kind([part(new) for part in parts])
    leaves.append(value)
    return next


def _maker(kind: type) -> Callable[[list[Any]], Any]:
    """How a sequence of this type is made; named tuples take their fields one by one."""
    if hasattr(kind, "_fields"):
        return lambda values: kind(*values)
    return list if issubclass(kind, list) else tuple
