"""The loss of sequences that are not aligned with their labels: CTC.

Comes in: log-probabilities of classes over time, and labels in order, but not in time. Goes out: a
scalar, or one number per sequence. A separate file because it sums over all alignments, with a
recursion over time.
"""

from __future__ import annotations

import math

from graphc.errors import UserError
from graphc.frontends.dsl.control import scan
from graphc.frontends.dsl.creation import arange, full_like
from graphc.frontends.dsl.elementwise import exp, log, maximum, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.padding import pad
from graphc.frontends.dsl.reductions import logsumexp, stop_gradient
from graphc.frontends.dsl.shaping import broadcast_to, expand_dims, stack, take_along_axis
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.losses.reduction import Reduction, beside, reduced
from graphc.site import scope

IMPOSSIBLE = -1e30
"""The logarithm of 0: finite, so that differences of two are no nan."""


@at_user_line
@scope("ctc")
def ctc(
    log_probabilities: Value,
    labels: Value,
    input_lengths: Value,
    label_lengths: Value,
    reduction: Reduction = "mean",
    *,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006, section 4.1).

    -log of the probability that a sequence, drawn step by step, reads as the labels once repeated
    classes are merged and then ``blank`` is left out. ``log_probabilities`` are floats [time, n,
    classes], as `log_softmax` gives them; ``labels`` integers [n, longest]; lengths integers [n].
    What lies behind a length does not count, but must be a class. A sequence too short for its
    labels costs inf, or 0 with ``zero_infinity``, without a gradient. "mean" is PyTorch's: each
    loss is divided by its number of labels first. Raises `UserError` GC0101, GC0102, GC0103.
    """
    logs, truth = tensor(log_probabilities), tensor(labels)
    times, counts = tensor(input_lengths), tensor(label_lengths)
    _check(logs, truth, times, counts)
    states = _with_blanks(truth, blank)
    total = _read_out(_forward(logs, states, times, blank), counts)
    possible = total > IMPOSSIBLE / 2
    loss = where(possible, -where(possible, total, 0), 0 if zero_infinity else math.inf)
    if reduction == "mean":
        loss = loss / maximum(beside(counts, loss), 1)
    return reduced(loss, reduction)


def _check(logs: Tensor, labels: Tensor, times: Tensor, counts: Tensor) -> None:
    if logs.ndim != 3 or labels.ndim != 2:
        raise UserError(
            "GC0103",
            f"ctc of {logs.node.type} with labels {labels.node.type}",
            fix="pass log-probabilities [time, n, classes] and labels [n, longest]",
        )
    for x in (labels, times, counts):
        if not x.dtype.is_integer:
            raise UserError("GC0102", f"ctc: {x.node.type}", fix="labels and lengths are integers")
        if x.shape[:1] != logs.shape[1:2] or x.ndim > 1 + (x is labels):
            raise UserError(
                "GC0101",
                f"ctc: {x.node.type} for {logs.node.type}",
                fix="there is one row of labels and one of each length for every sequence",
            )


def _with_blanks(labels: Tensor, blank: int) -> Tensor:
    """Blanks before, between and behind the labels: [n, 2*longest + 1]."""
    n, longest = labels.shape
    blanks = full_like(labels, blank)
    pairs = stack([blanks, labels], -1).reshape(n, 2 * longest)
    return pad(pairs, ((0, 0), (0, 1)), value=blank)


def _forward(logs: Tensor, states: Tensor, times: Tensor, blank: int) -> Tensor:
    """The logarithm of the probability to be in each state at the end of each sequence."""
    steps = logs.shape[0]
    read = take_along_axis(logs, broadcast_to(expand_dims(states, 0), (steps, *states.shape)), -1)
    leaps = (states != blank) & (states != _later(states, 2, blank))
    start = where(arange(states.shape[-1]) < 2, read[0], IMPOSSIBLE)

    def step(alpha: Tensor, now: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
        emitted, t = now
        leapt = where(leaps, _later(alpha, 2, IMPOSSIBLE), IMPOSSIBLE)
        new = _sum(alpha, _later(alpha, 1, IMPOSSIBLE), leapt) + emitted
        return where(expand_dims(t < times, -1), new, alpha), None

    found: Tensor = scan(step, start, (read[1:], arange(steps)[1:]))[0]
    return found


def _read_out(alpha: Tensor, counts: Tensor) -> Tensor:
    """All alignments end in the last label or in the blank behind it."""
    state = arange(alpha.shape[-1])
    last = 2 * expand_dims(counts.astype("int64"), -1)
    return logsumexp(where((state == last) | (state == last - 1), alpha, IMPOSSIBLE), -1)


def _later(x: Tensor, places: int, first: float) -> Tensor:
    """``x`` moved along its last axis, with ``first`` before it."""
    return pad(x, ((0, 0), (places, 0)), value=first)[:, : x.shape[-1]]


def _sum(*logs: Tensor) -> Tensor:
    """The logarithm of the sum of what these are logarithms of."""
    peak = stop_gradient(maximum(logs[0], maximum(logs[1], logs[2])))
    return peak + log(sum((exp(x - peak) for x in logs[1:]), start=exp(logs[0] - peak)))
