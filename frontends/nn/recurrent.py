"""Recurrent layers: the LSTM, unrolled over time.

Comes in: a sequence. Goes out: the hidden state at every step. A separate file because a recurrent
layer is a loop in Python over steps of the graph: every step can be seen in the drawing.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import sigmoid, tanh
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.shaping import split, stack
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import init
from graphc.frontends.nn.functional import linear
from graphc.frontends.nn.init import Rng
from graphc.frontends.nn.module import Module
from graphc.site import scope

State = tuple[Tensor, Tensor]


class LSTMCell(Module):
    """One step of the LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    i, f, o = sigmoid, g = tanh of ``x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh``, in the
    order i, f, g, o; then ``c = f * c + i * g`` and ``h = o * tanh(c)``. Weights are
    ``[4*hidden, inputs]`` and ``[4*hidden, hidden]``, uniform in +-1/sqrt(hidden).
    """

    def __init__(self, inputs: int, hidden: int, *, rng: Rng = None) -> None:
        self.inputs, self.hidden = inputs, hidden
        source, make = init.generator(rng), init.uniform(hidden**-0.5)
        self.weight_ih = parameter(make(source, (4 * hidden, inputs)), "weight_ih")
        self.weight_hh = parameter(make(source, (4 * hidden, hidden)), "weight_hh")
        self.bias_ih = parameter(make(source, (4 * hidden,)), "bias_ih")
        self.bias_hh = parameter(make(source, (4 * hidden,)), "bias_hh")

    def forward(self, x: Value, state: State) -> State:
        """x ``[n, inputs]`` and (h, c) ``[n, hidden]`` to the next (h, c)."""
        return self.step(self.project(tensor(x)), state)

    def project(self, x: Tensor) -> Tensor:
        """The part of the gates that does not wait for the previous step: ``[..., 4*hidden]``."""
        return linear(x, self.weight_ih, self.bias_ih) + self.bias_hh

    def step(self, projected: Tensor, state: State | None) -> State:
        """The next (h, c) from `project` and the last (h, c); None stands for zeros."""
        gates = projected if state is None else projected + linear(state[0], self.weight_hh)
        i, f, g, o = split(gates, 4, axis=-1)
        new = sigmoid(i) * tanh(g)
        c = new if state is None else sigmoid(f) * state[1] + new
        return sigmoid(o) * tanh(c), c


class LSTM(Module):
    """``layers`` LSTMs on top of each other, unrolled over the first axis of ``[time, n, inputs]``.

    The number of steps is fixed in the graph. See `LSTMCell` for the formulas and the weights.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1, *, rng: Rng = None) -> None:
        source = init.generator(rng)
        self.hidden = hidden
        sizes = [inputs, *[hidden] * (layers - 1)]
        self.cells = [LSTMCell(size, hidden, rng=source) for size in sizes]

    def forward(self, x: Value, state: list[State] | None = None) -> tuple[Tensor, list[State]]:
        """Outputs ``[time, n, hidden]`` of the top layer, and the last (h, c) of every layer.

        ``state`` starts with zeros unless given. Raises `UserError` GC0103, GC0104.
        """
        sequence = tensor(x)
        _check(sequence)
        start: Sequence[State | None] = state or [None] * len(self.cells)
        last: list[State] = []
        for cell, first in zip(self.cells, start, strict=True):
            with scope(cell.scope_name):
                sequence, end = _unrolled(cell, sequence, first)
            last.append(end)
        return sequence, last


def _unrolled(cell: LSTMCell, sequence: Tensor, start: State | None) -> tuple[Tensor, State]:
    projected = cell.project(sequence)
    states: list[State] = []
    for time in range(len(sequence)):
        with scope(f"step{time}"):
            states.append(cell.step(projected[time], states[-1] if states else start))
    return stack([h for h, _ in states]), states[-1]


def _check(x: Tensor) -> None:
    if x.ndim != 3:
        raise UserError("GC0103", f"LSTM of {x.node.type}", fix="pass [time, batch, features]")
    if not isinstance(x.shape[0], int) or x.shape[0] < 1:
        raise UserError(
            "GC0104",
            f"LSTM over {x.shape[0]} steps",
            why="the steps are written out in the graph, so their number must be known",
            fix="declare the first axis with a number of at least 1",
        )
