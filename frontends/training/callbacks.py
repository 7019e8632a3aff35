"""What happens after every epoch: checkpoints, early stopping, falling rates, logs.

Comes in: the number of the epoch and its metrics. Goes out: True to end the training, and files. A
separate step because `fit` only calls: what is done with the metrics is chosen by its user, and
any function of (epoch, metrics) will do. What these remember are parameters, so that a checkpoint
of them goes on exactly where it was.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.leaves import assign, parameter, value
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.training.checkpoint import Part, load, save

Metrics = Mapping[str, float]
Mode = Literal["min", "max"]


class Watch:
    """The best value of one metric so far, and for how many epochs it has stood.

    A value counts as better when it is so by more than ``threshold``, a share of the best; nan
    never is. ``mode`` says whether "min" or "max" is best.
    """

    def __init__(self, metric: str, mode: Mode = "min", threshold: float = 0.0) -> None:
        """Raises `UserError` GC0104."""
        if mode not in ("min", "max") or threshold < 0:
            raise UserError(
                "GC0104",
                f"watching {metric} with mode={mode!r}, threshold={threshold}",
                fix="mode is 'min' or 'max', threshold 0 or more",
            )
        self.metric, self.mode, self.threshold = metric, mode, threshold
        self._sign = 1.0 if mode == "min" else -1.0
        worst = np.float64(self._sign * math.inf)
        self._state = {
            "best": parameter(worst, "best", trainable=False, dtype="float64"),
            "waited": parameter(0, "waited", trainable=False, dtype="int64"),
        }

    @property
    def best(self) -> float:
        """The best value; infinite, on the bad side, before the first."""
        return float(value(self._state["best"]))

    @property
    def waited(self) -> int:
        """How many epochs have passed since the best one."""
        return int(value(self._state["waited"]))

    def wait_anew(self) -> None:
        """Count from 0 again."""
        assign(self._state["waited"], 0)

    def improved(self, metrics: Metrics) -> bool:
        """Whether ``metrics`` are the best so far. Raises `UserError` GC0104 for a missing one."""
        if self.metric not in metrics:
            raise UserError(
                "GC0104",
                f"there is no metric {self.metric!r}",
                why="the step and validate return the metrics by name",
                fix=f"watch one of {', '.join(metrics)}",
            )
        new, best = float(metrics[self.metric]), self.best
        least = self.threshold * abs(best) if math.isfinite(best) else 0.0
        better = self._sign * (best - new) > least
        if better:
            assign(self._state["best"], new)
        assign(self._state["waited"], 0 if better else self.waited + 1)
        return better

    def named_state(self) -> dict[str, Tensor]:
        """Both as parameters, for checkpoints."""
        return dict(self._state)


class EarlyStopping:
    """Ends the training after ``patience`` epochs in a row without a better metric.

    Prechelt 1998. To keep the best model see `Checkpoint`.
    """

    def __init__(
        self, metric: str = "loss", patience: int = 5, mode: Mode = "min", threshold: float = 0.0
    ) -> None:
        self.watch, self.patience = Watch(metric, mode, threshold), patience

    def __call__(self, epoch: int, metrics: Metrics) -> bool:
        """True when it is time to stop."""
        return not self.watch.improved(metrics) and self.watch.waited >= self.patience

    def named_state(self) -> dict[str, Tensor]:
        """The best value and the time since then."""
        return self.watch.named_state()


class ReduceOnPlateau:
    """Multiplies a learning rate by ``factor`` when a metric has stopped to improve.

    ``rate`` is a 0-d parameter: an optimiser's ``lr``, or part of its schedule. After more than
    ``patience`` epochs without a better metric it falls, not below ``least``; for ``cooldown``
    epochs after that nothing is counted. Defaults are those of PyTorch's ReduceLROnPlateau.
    """

    def __init__(
        self,
        rate: Tensor,
        metric: str = "loss",
        factor: float = 0.1,
        patience: int = 10,
        mode: Mode = "min",
        threshold: float = 1e-4,
        cooldown: int = 0,
        least: float = 0.0,
    ) -> None:
        """Raises `UserError` GC0104 for a factor that does not reduce."""
        if not 0 < factor < 1:
            raise UserError("GC0104", f"factor={factor}", fix="use one between 0 and 1")
        self.rate, self.factor, self.patience = rate, factor, patience
        self.cooldown, self.least = cooldown, least
        self.watch = Watch(metric, mode, threshold)
        self._cooling = parameter(0, "cooling", trainable=False, dtype="int64")

    def __call__(self, epoch: int, metrics: Metrics) -> None:
        """Looks at the metric, and perhaps changes the rate."""
        self.watch.improved(metrics)
        if (cooling := int(value(self._cooling))) > 0:
            assign(self._cooling, cooling - 1)
            self.watch.wait_anew()
        if self.watch.waited > self.patience:
            assign(self.rate, max(float(value(self.rate)) * self.factor, self.least))
            assign(self._cooling, self.cooldown)
            self.watch.wait_anew()

    def named_state(self) -> dict[str, Tensor]:
        """The rate, the best value, the time since then, and the cooldown."""
        return {"rate": self.rate, "cooling": self._cooling, **self.watch.named_state()}


class Checkpoint:
    """Saves ``parts`` after every epoch, or only when ``metric`` is the best so far.

    With everything that changes among the parts (model, optimiser, NumPy's generators, callbacks)
    a stopped training goes on as if it had never stopped, to the last bit:

        checkpoint = Checkpoint("run.safetensors", model=model, optimiser=optimiser, order=rng)
        fit(step, data, epochs=50, first=checkpoint.resume(), after_epoch=checkpoint)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        metric: str | None = None,
        mode: Mode = "min",
        **parts: Part,
    ) -> None:
        self.path, self.parts = Path(path), parts
        self.watch = None if metric is None else Watch(metric, mode)
        self._epoch = parameter(0, "epoch", trainable=False, dtype="int64")

    def __call__(self, epoch: int, metrics: Metrics) -> None:
        """Saves, unless the best is kept and this is not it."""
        if self.watch is None or self.watch.improved(metrics):
            assign(self._epoch, epoch)
            save(self.path, checkpoint=self, **self.parts)

    def resume(self) -> int:
        """Load the file, if there is one; goes out as the number of the next epoch.

        Raises `UserError` GC0501, GC0502.
        """
        if self.path.exists():
            load(self.path, checkpoint=self, **self.parts)
        return int(value(self._epoch)) + 1

    def named_state(self) -> dict[str, Tensor]:
        """The last saved epoch, and the best value."""
        watched = {} if self.watch is None else self.watch.named_state()
        return {"epoch": self._epoch, **watched}


class CSVLog:
    """Writes the metrics of every epoch as a row of a table; a resumed training adds to it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self, epoch: int, metrics: Metrics) -> None:
        """Epoch 1 begins the file. Raises `UserError` GC0502 when the columns have changed."""
        names = ["epoch", *metrics]
        fresh = epoch == 1 or not self.path.exists()
        if not fresh and (found := self._columns()) != names:
            raise UserError(
                "GC0502",
                f"{self.path} has the columns {', '.join(found)}, not {', '.join(names)}",
                fix="log to another file",
            )
        with open(self.path, "w" if fresh else "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(names)
            writer.writerow([epoch, *(repr(float(number)) for number in metrics.values())])

    def _columns(self) -> list[str]:
        with open(self.path, newline="", encoding="utf-8") as file:
            return next(csv.reader(file), [])


class Scalars(Protocol):
    """What writes numbers for TensorBoard: `SummaryWriter` of tensorboardX or of PyTorch."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any: ...


class TensorBoardLog:
    """Hands the metrics of every epoch to a ``writer``, e.g. ``tensorboardX.SummaryWriter()``.

    That one comes with ``pip install 'graphc[tensorboard]'``.
    """

    def __init__(self, writer: Scalars) -> None:
        self.writer = writer

    def __call__(self, epoch: int, metrics: Metrics) -> None:
        """One curve for each metric."""
        for name, number in metrics.items():
            self.writer.add_scalar(name, number, epoch)
