"""Random numbers from counters: the same bits on every machine, in any order of evaluation.

Comes in: a state uint32[4] = (seed low, seed high, step, 0). Goes out: bits, and distributions made
of them. Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011) turns
(key, counter) into four words; the key is the seed, the counter holds the element, the step and the
stream. A separate file because randomness must not depend on who computes an element, or when.

The distributions use exactly rounded operations only (shifts, casts, + - * / and square roots), so
they too are equal bit for bit wherever those are not fused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc import scalars
from graphc.dims import Size
from graphc.errors import UserError
from graphc.expr import Apply, Expr, Lit, cast
from graphc.graph import Array, Node, Op, Read
from graphc.index import bounds
from graphc.ops.elementwise import Bitcast, cast_to
from graphc.ops.reduction import static
from graphc.types import FLOAT16, FLOAT32, FLOAT64, INT32, INT64, UINT32, DType, TensorType

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1: what the key grows by each round
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class RandomBits(Op):
    """One of the four Philox words (``word`` 0..3) for each element of ``shape``: uint32.

    Element e of ``stream`` has the counter (e low, step, stream, e high). Of states [..., 4] each
    draws its own.
    """

    kind: ClassVar[str] = "compute"
    stackable: ClassVar[bool] = True
    shape: tuple[Size, ...]
    stream: int
    word: int

    @property
    def name(self) -> str:
        return "random_bits"

    def infer(self, state: TensorType) -> TensorType:
        if state.dtype != UINT32 or state.shape[-1:] != (4,):
            raise UserError("GC0101", f"the state of a random generator is u32[4], not {state}")
        if not (0 <= self.stream <= _WORD and 0 <= self.word < 4):
            raise UserError("GC0104", f"random bits: stream {self.stream}, word {self.word}")
        return TensorType(UINT32, (*state.shape[:-1], *self.shape))

    def eval(self, state: Array) -> Array:
        shape = static(self.shape)
        element = np.arange(math.prod(shape), dtype=np.uint64)
        each = np.moveaxis(state.astype(np.uint64)[..., np.newaxis], -2, 0)
        low_seed, high_seed, step, _ = each
        counter = (element & _WORD, step, np.uint64(self.stream), element >> 32)
        words = philox(counter, (low_seed, high_seed))
        return np.asarray(words[self.word], np.uint32).reshape((*state.shape[:-1], *shape))

    def at(self, index: tuple[Expr, ...], state: Read) -> Expr:
        element: Expr = Lit(0, INT64)
        lead = state.type.rank - 1
        for i, extent in zip(index[lead:], static(self.shape), strict=True):
            element = element * extent + i
        low_seed, high_seed, step = (state(*index[:lead], Lit(k, INT64)) for k in range(3))
        counter = (cast(element, UINT32), step, Lit(self.stream, UINT32), _high_word(element))
        return _philox_at(counter, (low_seed, high_seed))[self.word]

    def cost(self, y: TensorType, *xs: TensorType) -> Size:
        return y.size * ROUNDS * 6


def philox(counter: Sequence[Any], key: Sequence[Any]) -> tuple[Any, ...]:
    """The four output words; counter and key hold 32-bit words as uint64."""
    a, b, c, d = counter
    left, right = key
    for _ in range(ROUNDS):
        first, second = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, c = (second >> 32) ^ b ^ left, (first >> 32) ^ d ^ right
        b, d = second & _WORD, first & _WORD
        left, right = (left + WEYL[0]) & _WORD, (right + WEYL[1]) & _WORD
    return a, b, c, d


def _high_word(element: Expr) -> Expr:
    reach = bounds(element)
    if reach is not None and reach[1] <= _WORD:
        return Lit(0, UINT32)
    return cast(Apply("bitwise_right_shift", (element, Lit(32, INT64)), INT64), UINT32)


def _philox_at(counter: Sequence[Expr], key: Sequence[Expr]) -> tuple[Expr, ...]:
    a, b, c, d = counter
    left, right = key
    for step in range(ROUNDS):
        if step:
            left, right = _u32("add", left, WEYL[0]), _u32("add", right, WEYL[1])
        first, second = (a, MULTIPLIERS[0]), (c, MULTIPLIERS[1])
        a = _xor(_u32("multiply_high", *second), b, left)
        c = _xor(_u32("multiply_high", *first), d, right)
        b, d = _u32("multiply", *second), _u32("multiply", *first)
    return a, b, c, d


def _u32(function: str, left: Expr, right: int) -> Expr:
    return Apply(function, (left, Lit(right, UINT32)), UINT32)


def _xor(first: Expr, second: Expr, third: Expr) -> Expr:
    half = Apply("bitwise_xor", (first, second), UINT32)
    return Apply("bitwise_xor", (half, third), UINT32)


# Distributions ------------------------------------------------------------------------------------
def uniform(
    state: Node, shape: Sequence[Size], stream: int, dtype: DType = FLOAT32, *, word: int = 0
) -> Node:
    """Evenly spaced numbers in [0, 1): 24 random bits for float32, 53 for float64,
    11 for float16, 8 for bfloat16.

    ``word`` names the Philox word to use (float64 takes the next one too), so that one stream can
    give independent numbers for one element. Raises `UserError` GC0102 for other dtypes.
    """
    bits = RandomBits(tuple(shape), stream, word)(state)
    if dtype == FLOAT32:
        return cast_to(bits >> 8, FLOAT32) * 2.0**-24
    if dtype.is_narrow:
        digits = 11 if dtype == FLOAT16 else 8
        return cast_to(cast_to(bits >> 32 - digits, FLOAT32) * 2.0**-digits, dtype)
    if dtype != FLOAT64:
        raise UserError("GC0102", f"random numbers of {dtype.name}", fix="use a float dtype")
    more = RandomBits(tuple(shape), stream, word + 1)(state)
    return (cast_to(bits >> 5, FLOAT64) * 2.0**26 + cast_to(more >> 6, FLOAT64)) * 2.0**-53


def bernoulli(state: Node, shape: Sequence[Size], stream: int, probability: float) -> Node:
    """True with ``probability``, to the nearest 2**-24."""
    return uniform(state, shape, stream) < probability


def normal(state: Node, shape: Sequence[Size], stream: int, dtype: DType = FLOAT32) -> Node:
    """Standard normal numbers: sqrt(-2 log u) cos(2 pi v) (Box and Muller, 1958).

    The radius comes from 32 bits (53 for float64), so float32 reaches 6.7 standard deviations and
    float64 8.5; float16 and bfloat16 are rounded from float32.
    """
    if dtype.is_narrow:
        return cast_to(normal(state, shape, stream, FLOAT32), dtype)
    if dtype == FLOAT32:
        bits = cast_to(RandomBits(tuple(shape), stream, 0)(state), FLOAT32)
        u, turn = bits * 2.0**-32 + 2.0**-33, uniform(state, shape, stream, FLOAT32, word=1)
    else:
        u = 1.0 - uniform(state, shape, stream, dtype)
        turn = uniform(state, shape, stream, dtype, word=2)
    radius: Node = scalars.sqrt(_log(u) * -2.0)
    return radius * _cos_turn(turn)


def gumbel(state: Node, shape: Sequence[Size], stream: int, dtype: DType = FLOAT32) -> Node:
    """Standard Gumbel numbers, -log(-log u): the largest of them, each with log p added, is number
    k with probability p[k] (Gumbel 1954). From 53 bits, so they reach from -3.6 to 36.
    """
    u = uniform(state, shape, stream, FLOAT64) + 2.0**-54
    return cast_to(-_log(-_log(u)), dtype)


def _log(u: Node) -> Node:
    """log u for normal u: with u = m * 2**e and m near 1, e log 2 + 2 artanh s.

    s = (m - 1)/(m + 1), at most 0.172; the series of artanh ends where it no longer counts.
    """
    wide = u.dtype == FLOAT64
    integer, mantissa, terms = (INT64, 52, 11) if wide else (INT32, 23, 5)
    bits = Bitcast(integer)(u)
    half = int(np.array(math.sqrt(0.5), u.dtype.numpy).view(integer.numpy))
    exponent = (bits - half) >> mantissa
    m = Bitcast(u.dtype)(bits - exponent * (1 << mantissa))
    s = (m - 1.0) / (m + 1.0)
    series = _polynomial(s * s, [2.0 / (2 * n + 1) for n in range(terms)])
    return cast_to(exponent, u.dtype) * math.log(2) + s * series


def _cos_turn(turn: Node) -> Node:
    """cos(2 pi turn) for turn in [0, 1): it is sin(pi z) of z = |2 turn - 1| - 1/2, exactly."""
    terms = 11 if turn.dtype == FLOAT64 else 7
    z = abs(turn * 2.0 - 1.0) - 0.5
    powers = range(1, 2 * terms, 2)
    signs = [(-1) ** n * math.pi**p / math.factorial(p) for n, p in enumerate(powers)]
    return z * _polynomial(z * z, signs)


def _polynomial(x: Node, coefficients: Sequence[float]) -> Node:
    """Lowest power first, by Horner's rule."""
    *rest, last = coefficients
    total = x * last + rest[-1]
    for c in reversed(rest[:-1]):
        total = total * x + c
    return total
