"""Learning rates that change with the steps, as formulas of the graph.

Comes in: numbers that say how. Goes out: a function of the number of steps done, to pass as an
optimiser's ``lr``: it becomes part of the compiled step, which follows it without being compiled
again. A separate step because a rate is a function of time alone, whatever formula uses it.

Every ``rate`` may also be a 0-d parameter, so that a schedule can be scaled from outside. Steps are
tensors of any shape, float64, from 0; after its last step a schedule keeps its last value. The
formulas are PyTorch's, with steps where it counts epochs. All raise `UserError` GC0104.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from graphc.errors import UserError
from graphc.frontends.dsl.creation import full_like, zeros_like
from graphc.frontends.dsl.elementwise import clip, cos, floor, log, minimum, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.frontends.optim.optimiser import Number, Schedule

Between = Callable[[Number, Number, Tensor], Tensor]


def constant(rate: Value) -> Schedule:
    """The same rate at every step."""
    return lambda k: full_like(k, rate)


@at_user_line
def linear(start: Value, end: Value, steps: float) -> Schedule:
    """From ``start`` to ``end`` along a line of ``steps`` steps."""
    _at_least("steps", steps, 1)
    return lambda k: _line(start, end, _progress(k, steps))


@at_user_line
def inverse_time(rate: Value, decay: float, every: float = 1) -> Schedule:
    """rate / (1 + decay * k/every) (Robbins and Monro 1951)."""
    _at_least("every", every, 1)
    return lambda k: rate / (1 + k * (decay / every))


@at_user_line
def exponential(rate: Value, factor: float, every: float = 1) -> Schedule:
    """rate * factor**(k/every)."""
    _at_least("every", every, 1)
    return lambda k: rate * factor ** (k / every)


@at_user_line
def staircase(rate: Value, factor: float, every: int) -> Schedule:
    """rate * factor**floor(k/every): PyTorch's StepLR."""
    _at_least("every", every, 1)
    return lambda k: rate * factor ** floor(k / every)


@at_user_line
def multi_step(rate: Value, factor: float, milestones: Sequence[int]) -> Schedule:
    """rate * factor**(how many milestones were reached)."""

    def reached(k: Tensor) -> Tensor:
        return sum(((k >= m).astype(k.dtype) for m in milestones), start=zeros_like(k))

    return lambda k: rate * factor ** reached(k)


@at_user_line
def polynomial(rate: Value, steps: int, power: float = 1.0, end: Value = 0.0) -> Schedule:
    """end + (rate - end) * (1 - k/steps)**power."""
    _at_least("steps", steps, 1)
    return lambda k: end + (rate - end) * (1 - _progress(k, steps)) ** power


@at_user_line
def cosine(rate: Value, steps: float, end: Value = 0.0) -> Schedule:
    """Half a wave from ``rate`` to ``end``: end + (rate - end) * (1 + cos(pi * k/steps)) / 2."""
    _at_least("steps", steps, 1)
    return lambda k: _half_wave(rate, end, _progress(k, steps))


@at_user_line
def cosine_restarts(rate: Value, period: int, growth: int = 1, end: Value = 0.0) -> Schedule:
    """`cosine` again and again, each ``growth`` times as long (Loshchilov and Hutter 2017, SGDR).

    The first lasts ``period`` steps.
    """
    _at_least("period", period, 1)
    _at_least("growth", growth, 1)

    def schedule(k: Tensor) -> Tensor:
        length, start = _cycle(k, period, growth)
        return _half_wave(rate, end, (k - start) / length)

    return schedule


@at_user_line
def one_cycle(
    peak: Value,
    steps: int,
    rising: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
    anneal: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
) -> Schedule:
    """Up from peak / start_divisor to the peak, and down (Smith and Topin 2019).

    It ends at the start's rate divided by ``end_divisor``. ``rising`` is the share of the
    ``steps`` before the peak; with ``three_phase`` it falls to the start's rate as long as it rose.
    """
    _at_least("steps", steps, 2)
    if not 0 < rising < (0.5 if three_phase else 1) or anneal not in ("cos", "linear"):
        raise UserError(
            "GC0104",
            f"one_cycle with rising={rising}, anneal={anneal!r}",
            fix="rising is above 0 and below 1 (three_phase: 0.5), anneal is 'cos' or 'linear'",
        )
    start = peak / start_divisor
    top = rising * steps - 1
    corners = [(0.0, start), (top, peak), (steps - 1.0, start / end_divisor)]
    if three_phase:
        corners.insert(2, (2 * top, start))
    return lambda k: _through(corners, k, _half_wave if anneal == "cos" else _line)


# Schedules of schedules ---------------------------------------------------------------------------
@at_user_line
def then(first: Schedule, steps: int, second: Schedule) -> Schedule:
    """``first`` for so many steps, then ``second`` from its own beginning."""
    return lambda k: where(k < steps, first(k), second(clip(k - steps, 0)))


@at_user_line
def warm_up(schedule: Schedule, steps: int, start: float = 0.0) -> Schedule:
    """A line from ``start`` times the first rate to it, then ``schedule`` (Goyal et al. 2017)."""
    _at_least("steps", steps, 1)

    def rising(k: Tensor) -> Tensor:
        return schedule(zeros_like(k)) * (start + (1 - start) * _progress(k, steps))

    return then(rising, steps, schedule)


# The parts ----------------------------------------------------------------------------------------
def _progress(k: Tensor, steps: float) -> Tensor:
    """The share of ``steps`` that is done, at most 1."""
    return minimum(k / steps, 1)


def _line(start: Number, end: Number, share: Tensor) -> Tensor:
    return share * (end - start) + start


def _half_wave(start: Number, end: Number, share: Tensor) -> Tensor:
    return 0.5 * (1 + cos(math.pi * share)) * (start - end) + end


def _cycle(k: Tensor, period: int, growth: int) -> tuple[Tensor, Tensor]:
    """The length and the first step of the cycle that holds step ``k``.

    Cycle n starts at period * (growth**n - 1)/(growth - 1), which is solved for n; half a step more
    keeps the logarithm away from whole numbers, where it could be rounded down.
    """
    if growth == 1:
        return full_like(k, period), floor(k / period) * period
    grown = (k + 0.5) * ((growth - 1) / period) + 1
    power = growth ** floor(log(grown) / math.log(growth))
    return period * power, (power - 1) * (period / (growth - 1))


def _through(corners: Sequence[tuple[float, Value]], k: Tensor, between: Between) -> Tensor:
    """The rate at ``k``, led from corner to corner (step, rate)."""
    rate = full_like(k, corners[-1][1])
    for (begin, low), (end, high) in reversed(list(pairwise(corners))):
        share = clip((k - begin) / max(end - begin, 1e-9), 0, 1)
        rate = where(k <= end, between(low, high, share), rate)
    return rate


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise UserError("GC0104", f"{name}={value}", fix=f"use {least} or more")
