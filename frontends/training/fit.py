"""The training loop: epochs over batches, a progress bar, validation, checkpoints, a clean Ctrl-C.

Comes in: a compiled step and data. Goes out: a `History`; the parameters changed in place. A
separate step because the loop is the same for every model, and knows nothing of graphs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Batch = Any
Metrics = dict[str, float]
Data = Iterable[Batch] | Callable[[], Iterable[Batch]]
"""Batches: a list or a `DataLoader`, or a function that gives the batches of the next epoch."""
Callback = Callable[[int, Metrics], bool | None]
"""Called with the number of the epoch, from 1, and its metrics; True ends the training."""


AHEAD = 32
"""Steps at most that are asked for and not yet looked at: a device goes on meanwhile."""
PAUSE = 0.1
"""Seconds after which all numbers are waited for, so that what is shown is not old."""


@dataclass
class History:
    """What happened: the metrics of each finished epoch, and whether Ctrl-C ended the training."""

    epochs: list[Metrics] = field(default_factory=list)
    interrupted: bool = False

    @property
    def last(self) -> Metrics:
        """The metrics of the last finished epoch; empty before the first."""
        return self.epochs[-1] if self.epochs else {}


def fit(
    step: Callable[..., Any],
    data: Data,
    epochs: int = 1,
    *,
    validate: Callable[[], Mapping[str, float]] | None = None,
    after_epoch: Callback | Sequence[Callback] = (),
    first: int = 1,
    console: Console | None = None,
    quiet: bool = False,
) -> History:
    """Call ``step(*batch)`` for every batch of ``data``: epochs number ``first`` to ``epochs``.

    ``step`` returns the loss or a dict of numbers; means over the epoch, weighted by batch size,
    are recorded and shown, with what ``validate()`` returns (see `validation`). The functions
    ``after_epoch``, each called with (epoch, metrics), may save a checkpoint, and end the training
    by returning True: see `graphc.training.Checkpoint`, `EarlyStopping` and the other callbacks.
    Ctrl-C ends it too: the parameters keep what they have learned, and the history says so.
    """
    history = History()
    callbacks = [after_epoch] if callable(after_epoch) else list(after_epoch)
    with _progress(console, quiet) as bar:
        try:
            for epoch in range(first, epochs + 1):
                metrics = _epoch(step, data, bar, f"epoch {epoch}/{epochs}")
                metrics |= {k: float(v) for k, v in (validate() if validate else {}).items()}
                history.epochs.append(metrics)
                bar.console.print(f"epoch {epoch}/{epochs}  {_text(metrics)}", highlight=False)
                ends = [callback(epoch, metrics) for callback in callbacks]
                if any(ends):
                    break
        except KeyboardInterrupt:
            history.interrupted = True
            bar.console.print("stopped; the parameters keep what they have learned")
    return history


def _progress(console: Console | None, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
        console=Console(quiet=True) if quiet else console,
        transient=True,
    )


def _epoch(step: Callable[..., Any], data: Data, bar: Progress, title: str) -> Metrics:
    batches = data() if callable(data) else data
    total = len(batches) if isinstance(batches, Sized) else None
    task = bar.add_task(title, total=total, metrics="")
    metrics: Metrics = {}
    for metrics in _running(step, batches):
        bar.update(task, advance=1, metrics=_text(metrics))
    bar.remove_task(task)
    return metrics


def evaluate(function: Callable[..., Any], data: Data) -> Metrics:
    """The means of what ``function(*batch)`` returns over all batches, weighted by batch size."""
    last = deque(_running(function, data() if callable(data) else data), maxlen=1)
    return last[0] if last else {}


def validation(
    function: Callable[..., Any], data: Data, prefix: str = "validation_"
) -> Callable[[], Metrics]:
    """For ``fit(validate=)``: `evaluate`, with ``prefix`` before the names, e.g. validation_loss.

    ``function`` is compiled without updates, from a model in `eval` mode.
    """
    return lambda: {prefix + name: mean for name, mean in evaluate(function, data).items()}


def _running(step: Callable[..., Any], batches: Iterable[Batch]) -> Iterator[Metrics]:
    """Calls ``step`` for every batch; goes out as the means so far, after each. It is one dict,
    which holds the means of all batches in the end.
    """
    call = getattr(step, "later", step)
    means, asked, looked = _Means(), deque[tuple[Any, int]](), time.monotonic()
    for batch in batches:
        arrays = batch if isinstance(batch, tuple | list) else (batch,)
        asked.append((call(*arrays), _rows(arrays)))
        if len(asked) > AHEAD:
            means.look(asked, 1)
        if time.monotonic() - looked > PAUSE:
            means.look(asked, len(asked))
            looked = time.monotonic()
        yield means.values
    means.look(asked, len(asked))


class _Means:
    """Running means of several numbers, weighted by the examples behind each."""

    def __init__(self) -> None:
        self.values: Metrics = {}
        self._weights: dict[str, int] = {}

    def look(self, asked: deque[tuple[Any, int]], count: int) -> None:
        """Wait for the first results that were asked for, and add them."""
        for _ in range(count):
            result, weight = asked.popleft()
            self.add(_numbers(result), weight)

    def add(self, numbers: Metrics, weight: int) -> None:
        for name, number in numbers.items():
            total = self._weights.get(name, 0) + weight
            old = self.values.get(name, 0.0)
            self.values[name] = old + (number - old) * weight / total
            self._weights[name] = total


def _numbers(result: Any) -> Metrics:
    if isinstance(result, Mapping):
        return {name: float(value) for name, value in result.items()}
    values = result if isinstance(result, tuple | list) else (result,)
    names = ["loss", *(f"metric{k}" for k in range(1, len(values)))]
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _rows(arrays: Iterable[Any]) -> int:
    first = np.shape(next(iter(arrays), 0))
    return max(first[0], 1) if first else 1


def _text(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {_number(value)}" for name, value in metrics.items())


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) and abs(value) < 1e4 else f"{value:g}"
