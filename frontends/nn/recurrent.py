"""Recurrent layers: plain (Elman), GRU and LSTM; stacked, in both directions.

Comes in: a sequence. Goes out: the hidden state at every step. A separate file because a recurrent
layer is a loop: over steps that are written out in the graph while they are few, so that every step
can be seen in the drawing and is optimised for itself; else a `scan`, compiled in the same time for
any number of steps. A kind of recurrence is two functions; cells and layers are made of them.
Parameters have PyTorch's names, shapes and order of gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl.control import scan
from graphc.frontends.dsl.creation import zeros
from graphc.frontends.dsl.elementwise import relu, sigmoid, tanh
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import concatenate, split, stack, swapaxes
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import init
from graphc.frontends.nn.dropout import optional_dropout
from graphc.frontends.nn.functional import linear
from graphc.frontends.nn.init import Rng, Source
from graphc.frontends.nn.module import Module
from graphc.site import scope
from graphc.types import DType

State = tuple[Tensor, Tensor]
"""Hidden state and memory (h, c) of an LSTM; the other kinds have h alone."""
Memory = tuple[Tensor, ...]
"""What a step hands to the next, h first."""


UNROLL = 64
"""Steps that are written out: an LSTM of so many, with gradients, takes two seconds to compile."""


# The recurrences ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Weights:
    """Of one layer in one direction: ``ih [gates*hidden, inputs]``, ``hh [hidden, gates*hidden]``,
    transposed so that every step reads it row by row, and two biases ``[gates*hidden]`` or None.
    """

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def beside(self, state: Memory | None) -> Tensor | None:
        """``h @ hh``; None for the zeros that a sequence starts with."""
        return None if state is None else state[0] @ self.hh


@dataclass(frozen=True)
class Recurrence:
    """``project`` maps inputs ``[..., inputs]`` to ``[..., gates*hidden]``, all steps at once;
    ``step`` makes the next memory of one step of these and the last memory, None for zeros.
    """

    gates: int
    memories: int
    project: Callable[[Weights, Tensor], Tensor]
    step: Callable[[Weights, Tensor, Memory | None], Memory]


def _project(weights: Weights, x: Tensor) -> Tensor:
    """Everything that does not wait for the previous step, both biases included."""
    y = linear(x, weights.ih, weights.bias_ih)
    return y if weights.bias_hh is None else y + weights.bias_hh


def _project_inputs(weights: Weights, x: Tensor) -> Tensor:
    return linear(x, weights.ih, weights.bias_ih)


def _elman(function: Callable[[Value], Tensor]) -> Recurrence:
    """``h = function(x @ ih.T + bias_ih + h @ hh.T + bias_hh)`` (Elman 1990)."""

    def step(weights: Weights, projected: Tensor, state: Memory | None) -> Memory:
        before = weights.beside(state)
        return (function(projected if before is None else projected + before),)

    return Recurrence(1, 1, _project, step)


def _lstm_step(weights: Weights, projected: Tensor, state: Memory | None) -> Memory:
    before = weights.beside(state)
    gates = projected if before is None else projected + before
    i, f, g, o = split(gates, 4, axis=-1)
    new = sigmoid(i) * tanh(g)
    c = new if state is None else sigmoid(f) * state[1] + new
    return sigmoid(o) * tanh(c), c


def _gru_step(weights: Weights, projected: Tensor, state: Memory | None) -> Memory:
    r, z, n = split(projected, 3, axis=-1)
    past = _past(weights, state)
    hr, hz, hn = (0.0, 0.0, 0.0) if past is None else split(past, 3, axis=-1)
    reset, update = sigmoid(r + hr), sigmoid(z + hz)
    new = tanh(n + reset * hn)
    return ((1 - update) * new if state is None else (1 - update) * new + update * state[0],)


def _past(weights: Weights, state: Memory | None) -> Tensor | None:
    """``h @ hh + bias_hh``; the bias alone, or None, for the zeros of the start."""
    before, bias = weights.beside(state), weights.bias_hh
    return bias if before is None else before if bias is None else before + bias


_ELMAN = {"tanh": _elman(tanh), "relu": _elman(relu)}
_LSTM = Recurrence(4, 2, _project, _lstm_step)
_GRU = Recurrence(3, 1, _project_inputs, _gru_step)


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Recurrent(Module):
    """What cells and layers share: a recurrence, and weights uniform in +-1/sqrt(hidden)."""

    recurrence: Recurrence
    hidden: int

    def _add_weights(self, suffix: str, inputs: int, bias: bool, source: Source) -> None:
        """Parameters under the names of ``_NAMES``, each with ``suffix``; None for no bias."""
        rows, make = self.recurrence.gates * self.hidden, init.uniform(self.hidden**-0.5)
        shapes: list[tuple[int, ...]] = [(rows, inputs), (rows, self.hidden), (rows,), (rows,)]
        for name, shape in zip(_NAMES, shapes, strict=True):
            wanted = bias or len(shape) == 2
            value = parameter(make(source, shape), name + suffix) if wanted else None
            setattr(self, name + suffix, value)

    def _weights(self, suffix: str) -> Weights:
        ih, hh, bias_ih, bias_hh = (getattr(self, name + suffix) for name in _NAMES)
        return Weights(ih, swapaxes(hh, 0, 1), bias_ih, bias_hh)

    def _opened(self, state: Any) -> Memory | None:
        """A state as the caller has it: (h, c), or h itself. Raises `UserError` GC0104."""
        if state is None:
            return None
        memory = tuple(map(tensor, state)) if isinstance(state, tuple | list) else (tensor(state),)
        if len(memory) != self.recurrence.memories:
            wanted = "a pair (h, c)" if self.recurrence.memories == 2 else "one tensor h"
            raise UserError(
                "GC0104", f"a state of {len(memory)} tensors", fix=f"the state is {wanted}"
            )
        return memory

    def _zeros(self, shape: Sequence[Size], dtype: DType) -> Memory:
        """The memory before the first inputs ``[..., inputs]``."""
        return (zeros((*shape[:-1], self.hidden), dtype),) * self.recurrence.memories


def _closed(memory: Memory) -> Any:
    return memory if len(memory) > 1 else memory[0]


# One step -----------------------------------------------------------------------------------------
class Cell(Recurrent):
    """One step of a recurrence; parameters ``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``.

    They are ``[gates*hidden, inputs]``, ``[gates*hidden, hidden]`` and twice ``[gates*hidden]``.
    """

    def __init__(self, inputs: int, hidden: int, bias: bool = True, *, rng: Rng = None) -> None:
        self.inputs, self.hidden = inputs, hidden
        self._add_weights("", inputs, bias, init.generator(rng))

    @at_user_line
    def forward(self, x: Value, state: Any = None) -> Any:
        """x ``[n, inputs]`` and a state ``[n, hidden]``, zeros for None, to the next state."""
        weights = self._weights("")
        given = tensor(x)
        memory = self._zeros(given.shape, given.dtype) if state is None else self._opened(state)
        projected = self.recurrence.project(weights, given)
        return _closed(self.recurrence.step(weights, projected, memory))


class RNNCell(Cell):
    """One step of the plain recurrence, ``h = tanh(...)`` or relu (Elman 1990).

    Of ``x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh``; the state is h.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        *,
        rng: Rng = None,
    ) -> None:
        self.recurrence = _elman_of(nonlinearity)
        super().__init__(inputs, hidden, bias, rng=rng)


class LSTMCell(Cell):
    """One step of the LSTM (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    i, f, o = sigmoid, g = tanh of ``x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh``, in the
    order i, f, g, o; then ``c = f * c + i * g`` and ``h = o * tanh(c)``. The state is (h, c).
    """

    recurrence = _LSTM


class GRUCell(Cell):
    """One step of the gated recurrent unit (Cho et al. 2014); it resets after the product.

    r, z = sigmoid of the sum of ``x @ weight_ih.T + bias_ih`` and ``h @ weight_hh.T + bias_hh``,
    n = tanh of the first plus r times the second, in the order r, z, n; then
    ``h = (1-z) * n + z * h``. The state is h.
    """

    recurrence = _GRU


# All steps ----------------------------------------------------------------------------------------
class Layers(Recurrent):
    """A recurrence over ``[time, n, inputs]``, in ``layers`` on top of each other.

    With ``batch_first`` sequences are ``[n, time, ...]``. ``bidirectional`` layers run over the
    sequence backward too, with other weights, and join both hidden states (Schuster and Paliwal
    1997). In training ``dropout`` acts between layers. Parameters are those of the cell with the
    layer behind the name, as in ``weight_ih_l0`` and ``weight_ih_l0_reverse``.

    At most ``unroll`` steps are written out in the graph; more, or a number that has a name, are a
    `gc.scan`. Both have the same values, up to rounding. Steps that are written out run faster, by
    a fifth when they are small, and take as long to compile as there are many; a scan takes less
    memory, as its backward pass computes all but products again.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        unroll: int = UNROLL,
        rng: Rng = None,
    ) -> None:
        source = init.generator(rng)
        self.inputs, self.hidden, self.batch_first = inputs, hidden, batch_first
        self.unroll = unroll
        directions = ("", "_reverse") if bidirectional else ("",)
        self.suffixes = [[f"_l{k}{way}" for way in directions] for k in range(layers)]
        for k, suffixes in enumerate(self.suffixes):
            for suffix in suffixes:
                self._add_weights(suffix, hidden * len(directions) if k else inputs, bias, source)
        self.between = optional_dropout(dropout, source)

    @at_user_line
    def forward(self, x: Value, state: Sequence[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Outputs ``[time, n, directions*hidden]`` of the top layer, and every layer's last state.

        ``state`` starts with zeros unless given. Both lists hold a state ``[n, hidden]`` per layer,
        of bidirectional ones the forward before the backward state; stacked they are PyTorch's
        ``h_n`` and ``c_n``. Raises `UserError` GC0103, GC0104.
        """
        sequence, starts = self._sequence(x), iter(self._starts(state))
        last: list[Any] = []
        for k, suffixes in enumerate(self.suffixes):
            sequence = self.between(sequence) if k else sequence
            outputs = []
            for suffix in suffixes:
                with scope(suffix[1:]):
                    output, end = self._run(sequence, suffix, next(starts))
                outputs.append(output)
                last.append(_closed(end))
            sequence = concatenate(outputs, -1) if len(outputs) > 1 else outputs[0]
        return (swapaxes(sequence, 0, 1) if self.batch_first else sequence), last

    def _run(self, sequence: Tensor, suffix: str, start: Memory | None) -> tuple[Tensor, Memory]:
        """Every hidden state of a sequence ``[time, n, features]``, and the last memory."""
        weights, steps = self._weights(suffix), sequence.shape[0]
        projected = self.recurrence.project(weights, sequence)
        backward = suffix.endswith("_reverse")
        few = isinstance(steps, int) and 0 < steps <= self.unroll
        if start is None and (not few or steps == 1):  # unused weights would have no gradient
            start = self._zeros(sequence.shape[1:], sequence.dtype)
        if few:
            return self._unrolled(weights, projected, start, backward=backward)
        return self._scanned(weights, projected, start or (), backward=backward)

    def _unrolled(
        self, weights: Weights, projected: Tensor, start: Memory | None, *, backward: bool
    ) -> tuple[Tensor, Memory]:
        order = range(len(projected))[:: -1 if backward else 1]
        states: list[Memory] = []
        for time in order:
            with scope(f"step{time}"):
                before = states[-1] if states else start
                states.append(self.recurrence.step(weights, projected[time], before))
        by_time = states[:: order.step]
        return stack([state[0] for state in by_time]), states[-1]

    def _scanned(
        self, weights: Weights, projected: Tensor, start: Memory, *, backward: bool
    ) -> tuple[Tensor, Memory]:
        def step(memory: Memory, row: Tensor) -> tuple[Memory, Tensor]:
            new = self.recurrence.step(weights, row, memory)
            return new, new[0]

        last, states = scan(step, start, projected, reverse=backward)
        return states, last

    def _sequence(self, x: Value) -> Tensor:
        """``x`` with the steps first."""
        given, name = tensor(x), type(self).__name__
        if given.ndim != 3:
            axes = "[batch, time, features]" if self.batch_first else "[time, batch, features]"
            raise UserError("GC0103", f"{name} of {given.node.type}", fix=f"pass {axes}")
        return swapaxes(given, 0, 1) if self.batch_first else given

    def _starts(self, state: Sequence[Any] | None) -> list[Memory | None]:
        wanted = sum(map(len, self.suffixes))
        given: Sequence[Any] = [None] * wanted if state is None else state
        if len(given) != wanted:
            raise UserError(
                "GC0104",
                f"{len(given)} states for {wanted} layers and directions",
                fix="pass a list with one state for each",
            )
        return [self._opened(each) for each in given]


class RNN(Layers):
    """`RNNCell` over a sequence; see `Layers` for options and names."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        unroll: int = UNROLL,
        rng: Rng = None,
    ) -> None:
        self.recurrence = _elman_of(nonlinearity)
        options = (layers, bias, batch_first, dropout, bidirectional)
        super().__init__(inputs, hidden, *options, unroll=unroll, rng=rng)


class LSTM(Layers):
    """`LSTMCell` over a sequence; a state is (h, c). See `Layers` for options and names."""

    recurrence = _LSTM


class GRU(Layers):
    """`GRUCell` over a sequence; see `Layers` for options and names."""

    recurrence = _GRU


def _elman_of(nonlinearity: str) -> Recurrence:
    if nonlinearity not in _ELMAN:
        raise UserError(
            "GC0104", f"unknown nonlinearity {nonlinearity!r}", fix="use 'tanh' or 'relu'"
        )
    return _ELMAN[nonlinearity]
