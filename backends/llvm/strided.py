"""Access to every second, third, ... element: whole vectors and shuffles instead of one lane at a
time.

Comes in: a pointer, the step from lane to lane. Goes out: the lanes. A separate step because a
gather of 16 lanes costs as much as some 20 loads, and the vectors between the first and the last
lane are few when the step is small. Elements that belong to no lane are never touched where they
might lie outside of the buffer, and never written.
"""

from __future__ import annotations

from graphc.backends.llvm.emitter import Emitter
from graphc.backends.llvm.value import Value

STEPS = range(2, 9)
"""Steps for which loading everything in between is cheaper than a gather."""


def strided_load(
    f: Emitter, pointer: Value, step: int, base: str, lanes: int, mask: Value | None
) -> Value:
    """Element ``k * step`` behind ``pointer`` in lane k; masked lanes hold anything."""
    if base == "i1":
        return strided_load(f, pointer, step, "i8", lanes, mask).compare("ne", 0)
    result: Value | None = None
    for part in range(step):
        here = pointer.element(part * lanes, base)
        inside = mask is None and part < step - 1
        used = None if inside else _spread_mask(f, step, lanes, part, mask)
        vector = f.load(here, base, lanes, mask=used)
        place = [k * step - part * lanes for k in range(lanes)]  # of lane k in this part
        if result is None:
            result = vector.shuffle([max(0, min(p, lanes - 1)) for p in place])
        else:
            chosen = [lanes + p if 0 <= p < lanes else k for k, p in enumerate(place)]
            result = result.shuffle(chosen, vector)
    assert result is not None
    return result


def strided_store(f: Emitter, value: Value, pointer: Value, step: int, mask: Value | None) -> None:
    """Lane k of ``value`` to element ``k * step`` behind ``pointer``; nothing else is written."""
    if value.base == "i1":
        value = value.convert("zext", "i8")
    lanes = value.lanes
    for part in range(step):
        spread = value.shuffle([(part * lanes + e) // step for e in range(lanes)])
        used = _spread_mask(f, step, lanes, part, mask)
        f.store(spread, pointer.element(part * lanes, value.base), mask=used)


def _spread_mask(f: Emitter, step: int, lanes: int, part: int, mask: Value | None) -> Value:
    """Which elements of vector number ``part`` belong to an active lane."""
    active = f.constant(1, "i1", lanes) if mask is None else mask
    elements = range(part * lanes, (part + 1) * lanes)
    chosen = [e // step if e % step == 0 else lanes for e in elements]
    return active.shuffle(chosen, f.constant(0, "i1", lanes))
