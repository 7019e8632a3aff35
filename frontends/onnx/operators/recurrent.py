"""Recurrent layers: RNN, GRU and LSTM over whole sequences.

Comes in: sequences ``[time, n, inputs]`` (for ``layout=1`` ``[n, time, inputs]``), weights of one
or two directions. Goes out: the hidden states of all steps ``[time, directions, n, hidden]`` and
the last states ``[directions, n, hidden]``. A separate file because ONNX's layers have options that
layers of modules lack: any activations, peepholes, clipping, sequences of unequal length.

What does not wait for the step before is computed for all steps at once; the rest is one scan, in
which both directions advance together: their axis comes first in weights and states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.functional import linear
from graphc.frontends.onnx.registry import operator

Memory = tuple[Tensor, ...]
"""What a step hands to the next, each ``[directions, n, hidden]``, the hidden state first."""
Function = Callable[[Tensor], Tensor]
Choice = tuple[str, tuple[float, ...]]
"""An activation: its name, and its alpha and beta where it has them."""


# Activations --------------------------------------------------------------------------------------
_FUNCTIONS: dict[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "relu": (gc.relu, ()),
    "tanh": (gc.tanh, ()),
    "sigmoid": (gc.sigmoid, ()),
    "softsign": (gc.softsign, ()),
    "softplus": (gc.softplus, ()),
    "leakyrelu": (gc.leaky_relu, (0.01,)),
    "thresholdedrelu": (lambda x, alpha: gc.where(x > alpha, x, 0), (1.0,)),
    "elu": (gc.elu, (1.0,)),
    "affine": (lambda x, alpha, beta: x * alpha + beta, (1.0, 0.0)),
    "scaledtanh": (lambda x, alpha, beta: gc.tanh(x * beta) * alpha, (1.0, 1.0)),
    "hardsigmoid": (lambda x, alpha, beta: gc.clip(x * alpha + beta, 0, 1), (0.2, 0.5)),
}
"""Functions of x, alpha and beta, with the values of these unless the model gives others."""


@dataclass(frozen=True)
class Options:
    """The attributes that all three layers share."""

    activation_alpha: Sequence[float] = ()
    activation_beta: Sequence[float] = ()
    activations: Sequence[str] = ()
    clip: float | None = None
    direction: str = "forward"
    hidden_size: int | None = None
    layout: int = 0

    @property
    def ways(self) -> list[bool]:
        """Whether each direction runs backward."""
        known = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
        if self.direction not in known:
            raise UserError("GC0104", f"direction {self.direction!r}", fix=f"use one of {[*known]}")
        return known[self.direction]

    def functions(self, defaults: list[str]) -> list[Function]:
        """The activations, each of all directions at once.

        Alphas and betas belong, in order, to the functions that have one. Raises `UserError`
        GC0104.
        """
        names = list(self.activations or defaults * len(self.ways))
        alphas, betas = iter(self.activation_alpha), iter(self.activation_beta)
        chosen = [_chosen(name, alphas, betas) for name in names]
        if len(chosen) != len(defaults) * len(self.ways):
            raise UserError("GC0104", f"activations {names} for direction {self.direction!r}")
        return [_applied(chosen[k :: len(defaults)]) for k in range(len(defaults))]

    def bounded(self, x: Tensor) -> Tensor:
        """``x``, what the activation of a gate is applied to, within ``clip``. As in ONNX Runtime
        the state of an LSTM is not bounded.
        """
        return x if self.clip is None else gc.clip(x, -self.clip, self.clip)


def _chosen(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Choice:
    if name.lower() not in _FUNCTIONS:
        raise UserError("GC0104", f"activation {name!r}", fix=f"use one of {[*_FUNCTIONS]}")
    numbers = _FUNCTIONS[name.lower()][1]
    given = (next(v, n) for v, n in zip((alphas, betas), numbers, strict=False))
    return name.lower(), tuple(given)


def _applied(choices: Sequence[Choice]) -> Function:
    """One activation for every direction, or each direction's own."""
    functions = [(_FUNCTIONS[name][0], numbers) for name, numbers in choices]
    if len({*choices}) == 1:
        function, given = functions[0]
        return lambda x: function(x, *given)
    return lambda x: gc.stack([f(x[d], *numbers) for d, (f, numbers) in enumerate(functions)])


# A layer ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Layer:
    """Inputs of a layer: x, weights ``w [directions, gates*hidden, inputs]`` and ``r [directions,
    gates*hidden, hidden]``, biases of both side by side, lengths ``[n]``, and start states.
    """

    options: Options
    x: Tensor
    w: Tensor
    r: Tensor
    b: Tensor | None
    lengths: Tensor | None
    starts: Sequence[Tensor | None]

    @property
    def biases(self) -> tuple[Tensor, ...] | None:
        """Those beside w and r, ``[directions, gates*hidden]``."""
        return None if self.b is None else gc.split(self.b, 2, -1)

    def beside(self, h: Tensor, rows: slice = slice(None)) -> Tensor:
        """``h @ r.T`` for each direction, for these ``rows`` of r."""
        return gc.matmul(h, gc.swapaxes(self.r[:, rows], 1, 2))

    def results(
        self, bias: Tensor | None, step: Callable[[Tensor, Memory], Memory]
    ) -> tuple[Tensor, ...]:
        """The hidden states of all steps, and the last of each kind of state.

        ``step`` makes the next memory of one step of ``x @ w.T + bias`` and a memory.
        """
        ways, batch_first = self.options.ways, bool(self.options.layout)
        if self.w.shape[0] != len(ways):
            raise UserError(
                "GC0104", f"direction {self.options.direction!r} with weights {self.w.node.type}"
            )
        x = gc.swapaxes(self.x, 0, 1) if batch_first else self.x
        sequences = [self._projected(x, bias)]
        if self.lengths is not None:
            steps = gc.arange(x.shape[0])[:, None]
            inside = steps < self.lengths.astype("int64")
            sequences.append(self._both_ways([inside] * len(ways))[..., None])
        states, *last = self._run(step, self._start(x), sequences)
        y = self._both_ways([states[:, d] for d in range(len(ways))])
        if batch_first:
            return gc.permute_dims(y, (2, 0, 1, 3)), *(gc.swapaxes(each, 0, 1) for each in last)
        return y, *last

    def _projected(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """``x @ w.T + bias`` of all steps, ``[time, directions, n, gates*hidden]``."""
        ways = range(len(self.options.ways))
        return self._both_ways(
            [linear(x, self.w[d], None if bias is None else bias[d]) for d in ways]
        )

    def _both_ways(self, parts: Sequence[Tensor]) -> Tensor:
        """Sequences of all directions ``[time, directions, ...]`` in the order of the first, in
        which the other one is turned round.
        """
        return gc.stack([gc.flip(part, 0) if d else part for d, part in enumerate(parts)], 1)

    def _start(self, x: Tensor) -> Memory:
        """The memory before the first step."""
        none = (len(self.options.ways), x.shape[1], self.r.shape[-1])
        given = (
            gc.swapaxes(s, 0, 1) if s is not None and self.options.layout else s
            for s in self.starts
        )
        return tuple(gc.zeros(none, x.dtype) if s is None else s for s in given)

    def _run(
        self,
        step: Callable[[Tensor, Memory], Memory],
        start: Memory,
        sequences: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """All hidden states and the last memory; outside of a sequence nothing changes."""

        def advance(memory: Memory, given: Sequence[Tensor]) -> tuple[Memory, Tensor]:
            new = step(given[0], memory)
            if len(given) == 1:
                return new, new[0]
            kept = tuple(gc.where(given[1], n, m) for n, m in zip(new, memory, strict=True))
            return kept, gc.where(given[1], new[0], 0)

        if sequences[0].shape[0] == 1:
            last, state = advance(start, [s[0] for s in sequences])
            return state[None], *last
        last, states = gc.scan(advance, start, sequences, reverse=self.options.ways[0])
        return states, *last


@operator("RNN")
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    **attributes: Any,
) -> tuple[Tensor, ...]:
    """``h = f(x @ w.T + h @ r.T + biases)`` (Elman 1990)."""
    options = Options(**attributes)
    layer = Layer(options, x, w, r, b, sequence_lens, [initial_h])
    (f,) = options.functions(["Tanh"])

    def step(projected: Tensor, memory: Memory) -> Memory:
        return (f(options.bounded(projected + layer.beside(memory[0]))),)

    return layer.results(_both(layer.biases), step)


@operator("GRU")
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    linear_before_reset: int = 0,
    **attributes: Any,
) -> tuple[Tensor, ...]:
    """``h = (1-z) * n + z * h``, gates in the order z, r, n (Cho et al. 2014).

    n is ``g(x @ wn.T + (r*h) @ rn.T + biases)``; with ``linear_before_reset`` r multiplies the
    product, and its bias, instead.
    """
    options = Options(**attributes)
    layer = Layer(options, x, w, r, b, sequence_lens, [initial_h])
    biases, size = layer.biases, r.shape[-1]
    f, g = options.functions(["Sigmoid", "Tanh"])

    def step(projected: Tensor, memory: Memory) -> Memory:
        (h,) = memory
        x_gates, x_new = projected[..., : 2 * size], projected[..., 2 * size :]
        if linear_before_reset:
            past = layer.beside(h) if biases is None else layer.beside(h) + biases[1][:, None]
            gates = f(options.bounded(x_gates + past[..., : 2 * size]))
            update, reset = gc.split(gates, 2, -1)
            new = x_new + reset * past[..., 2 * size :]
        else:
            gates = f(options.bounded(x_gates + layer.beside(h, slice(0, 2 * size))))
            update, reset = gc.split(gates, 2, -1)
            new = x_new + layer.beside(reset * h, slice(2 * size, 3 * size))
        return ((1 - update) * g(options.bounded(new)) + update * h,)

    return layer.results(biases[0] if biases and linear_before_reset else _both(biases), step)


@operator("LSTM")
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    *,
    input_forget: int = 0,
    **attributes: Any,
) -> tuple[Tensor, ...]:
    """``c = f * c + i * g`` and ``h = o * tanh(c)``, gates in the order i, o, f, g (Gers et al.
    2000).

    Peepholes ``p [directions, 3*hidden]`` let i, o and f see c; with ``input_forget`` f is 1 - i.
    """
    options, size = Options(**attributes), r.shape[-1]
    layer = Layer(options, x, w, r, b, sequence_lens, [initial_h, initial_c])
    inner, outer, last = options.functions(["Sigmoid", "Tanh", "Tanh"])

    def gate(x: Tensor, k: int, c: Tensor) -> Tensor:
        seen = x if p is None else x + p[:, None, k * size : (k + 1) * size] * c
        return inner(options.bounded(seen))

    def step(projected: Tensor, memory: Memory) -> Memory:
        h, c = memory
        i, o, f, g = gc.split(projected + layer.beside(h), 4, -1)
        i, f = gate(i, 0, c), gate(f, 2, c)
        new = (1 - i if input_forget else f) * c + i * outer(options.bounded(g))
        return gate(o, 1, new) * last(new), new

    return layer.results(_both(layer.biases), step)


def _both(biases: Sequence[Tensor] | None) -> Tensor | None:
    return None if biases is None else biases[0] + biases[1]
