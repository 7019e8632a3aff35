"""The optional pass "autotune": contractions by the tiles that prove fastest on this host.

Comes in: the forms of a program's kernels. Goes out: the same forms, those of contractions with
what measuring found. A separate step because the list of tiles and its order are the estimate's
(`tile`, `choice`): the tuner only walks it, runs the first of them on random data (`trial`), and
takes another one where that is faster by more than chance.

What was found is kept on disk beside the code, under the kernel, the processor and the number of
threads, so each kernel is measured once. What is interrupted goes on at the next compilation.

    GRAPHC_TUNE_SECONDS   seconds for one compilation; else 120
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from graphc.backends.llvm import cache
from graphc.backends.llvm.choice import Choice, contraction_of, name_of, named, relatives
from graphc.backends.llvm.code import Form, by_choice
from graphc.backends.llvm.image import choice_of
from graphc.backends.llvm.machine import host
from graphc.backends.llvm.packing import packed, unpacked
from graphc.backends.llvm.schedule import served
from graphc.backends.llvm.threads import thread_count
from graphc.backends.llvm.tile import Tile, ranked
from graphc.backends.llvm.trial import race
from graphc.errors import UserError
from graphc.loops.text import loops_text

AUTOTUNE = "autotune"
"""The name of the pass."""
SHAPES = 16
"""Tiles at the head of the list that are tried."""
HOPELESS = 3.0
"""Times the least estimate from which a tile is not tried."""
MARGIN = 1.03
"""Times as fast as the estimate's choice that another tile must be."""
SECONDS = 120.0

log = logging.getLogger("graphc.tune")
Measure = Callable[[Sequence[Form]], Sequence[float]]

_FOUND: dict[str, Choice] = {}


def tuned(
    forms: Sequence[Form], measure: Measure = race, clock: Callable[[], float] = time.monotonic
) -> list[Form]:
    """The forms, each with the choice that is known, or found now by ``measure``, which says the
    seconds of several forms of one kernel.

    It ends when the time is up or at Ctrl-C, and keeps what it found: `waiting` says what is left.
    Raises `UserError` GC0104 where GRAPHC_TUNE_SECONDS is no number.
    """
    end = clock() + _budget()
    forms = _recalled(forms)
    todo = waiting(forms)
    found: dict[str, Choice] = {}
    with _progress() as bar:
        task = bar.add_task("tuning contractions", total=len(todo), said="")
        try:
            for form in todo:
                if clock() > end:
                    log.warning("time is up: %d contractions are left to tune", len(waiting(forms)))
                    break
                found[form.key] = _kept(form, fastest(form, measure))
                bar.update(task, advance=1, said=str(found[form.key]))
        except KeyboardInterrupt:
            log.warning("stopped: %d of %d contractions are tuned", len(found), len(todo))
    return [by_choice(f, f.choice or found.get(f.key)) for f in forms]


def waiting(forms: Iterable[Form]) -> list[Form]:
    """The distinct contractions that nothing is known about, those first that take longest.

    Kernels that share panels with others of another kind are left out: panels are shared by tiles
    of one shape only.
    """
    forms = list(forms)
    count = Counter(form.key for form in forms)
    prices = {form: _price(form) for form in {f.key: f for f in forms}.values() if not form.choice}
    alone = (f for f, price in prices.items() if price and _most_uses(f) <= count[f.key])
    return sorted(alone, key=lambda f: -prices[f] * count[f.key])


def _price(form: Form) -> float:
    """The estimate in cycles; 0 for what is no contraction."""
    tiles = _tiles(form)
    return tiles[0].cycles if tiles else 0.0


def _tiles(form: Form) -> list[Tile]:
    contraction = contraction_of(form.kernel, served(form.kernel, form.uses))
    return ranked(contraction, host()) if contraction is not None else []


def _most_uses(form: Form) -> int:
    return max(served(form.kernel, form.uses).values(), default=1)


def _budget() -> float:
    text = os.environ.get("GRAPHC_TUNE_SECONDS") or str(SECONDS)
    try:
        return float(text)
    except ValueError:
        raise UserError(
            "GC0104", f"GRAPHC_TUNE_SECONDS={text!r}", fix="set it to a number of seconds"
        ) from None


def _progress() -> Progress:
    """A bar on the terminal, if there is one."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    said = TextColumn("{task.fields[said]}")
    return Progress(
        *columns, said, console=console, transient=True, disable=not console.is_terminal
    )


# One kernel ---------------------------------------------------------------------------------------
def fastest(form: Form, measure: Measure = race) -> Choice:
    """What measuring says of the tiles of a contraction: of some shapes, then of the best shape
    with other panels and other orders of the loops around.
    """
    tiles = candidates(form)
    first = _raced(form, tiles, measure)
    best = min(first, key=lambda pair: pair[1])[0]
    last = _raced(form, [tiles[0], best, *relatives(best)], measure)
    usual, winner = last[0], min(last, key=lambda pair: pair[1])
    gain, tried = usual[1] / winner[1], len({name_of(tile) for tile, _ in (*first, *last)})
    return Choice(name_of(winner[0]), gain, tried) if gain >= MARGIN else Choice("", 1.0, tried)


def candidates(form: Form) -> list[Tile]:
    """The tiles of a contraction that are tried, the estimate's choice first."""
    tiles = _tiles(form)
    return [t for t in tiles[:SHAPES] if t.cycles <= HOPELESS * tiles[0].cycles]


def _raced(form: Form, tiles: Sequence[Tile], measure: Measure) -> list[tuple[Tile, float]]:
    """(tile, seconds) of those that have loops of their own; the first is the estimate's choice."""
    distinct: dict[str, tuple[Tile, Form]] = {}
    for number, tile in enumerate(tiles):
        one = by_choice(form, Choice(name_of(tile)) if number else None)
        distinct.setdefault(loops_text(one.loops), (tile, one))
    seconds = measure([one for _, one in distinct.values()])
    return [(tile, s) for (tile, _), s in zip(distinct.values(), seconds, strict=True)]


# What is known ------------------------------------------------------------------------------------
def _key(form: Form) -> str:
    return f"tile of {form.key} on {thread_count()} threads"


def _kept(form: Form, choice: Choice) -> Choice:
    _FOUND[_key(form)] = choice
    cache.put(_key(form), packed([choice.tile, choice.gain, choice.tried], []))
    return choice


def _recalled(forms: Iterable[Form]) -> list[Form]:
    """The forms with the choices that were found before."""
    known: dict[str, Choice | None] = {}
    for form in forms:
        if form.key not in known and contraction_of(form.kernel) is not None:
            read = partial(_read, form)
            known[form.key] = _FOUND.get(_key(form)) or cache.get(_key(form), read)
    return [by_choice(form, known.get(form.key)) for form in forms]


def _read(form: Form, data: bytes) -> Choice:
    """What was kept of a kernel. Raises `ValueError` where it names no tile of it."""
    head, _ = unpacked(data)
    try:
        choice = choice_of(head)
    except TypeError as error:
        raise ValueError(f"no choice of a tile: {error}") from error
    contraction = contraction_of(form.kernel, served(form.kernel, form.uses))
    if not math.isfinite(choice.gain) or contraction is None:
        raise ValueError("no choice of a tile")
    if choice.tile and named(contraction, host(), choice.tile) is None:
        raise ValueError(f"there is no tile called {choice.tile!r}")
    return choice
