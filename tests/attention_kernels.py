"""Kernels of attention, made by hand: there, back by queries and back by keys, and what NumPy makes
of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from graphc.expr import Buffer, Expr, Iter, Lit, Load, Reduce, Select, apply, cast
from graphc.graph import Array
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.types import INT64, TensorType, dtype

NONE = (Lit(0, INT64),)


@dataclass(frozen=True)
class Sizes:
    """Of queries [batch, heads, queries, depth], keys and values [batch, heads, keys, width]."""

    queries: int
    keys: int
    depth: int
    width: int
    batch: int = 2
    heads: int = 1
    causal: bool = False
    kind: str = "float32"


def named(shape: tuple[int, ...], kind: str) -> Buffer:
    return Buffer(TensorType(dtype(kind), shape))


def wide(kind: str) -> str:
    """The dtype in which it is computed."""
    return "float64" if kind == "float64" else "float32"


@dataclass
class Attention:
    """The buffers of a case, and its kernels; scores of places that are not seen are ``hidden``."""

    sizes: Sizes
    scale: float = 0.3
    hidden: float = -1e30
    buffers: dict[str, Buffer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        s = self.sizes
        lead = (s.batch, s.heads)
        shapes = {
            "q": (*lead, s.queries, s.depth),
            "k": (*lead, s.keys, s.depth),
            "v": (*lead, s.keys, s.width),
            "g": (*lead, s.queries, s.width),
            "o": (*lead, s.queries, s.width),
            "dq": (*lead, s.queries, s.depth),
            "dk": (*lead, s.keys, s.depth),
            "dv": (*lead, s.keys, s.width),
        }
        self.buffers = {name: named(shape, s.kind) for name, shape in shapes.items()}
        rows = (*lead, s.queries)
        self.buffers |= {name: named(rows, wide(s.kind)) for name in ("m", "l", "d")}
        self.lead = (Iter(s.batch), Iter(s.heads))

    def at(self, name: str, *index: Expr) -> Load:
        return Load(self.buffers[name], (*self.lead, *index))

    def score(self, i: Expr, j: Expr) -> Expr:
        e = Iter(self.sizes.depth)
        product = apply("multiply", self.at("q", i, e), self.at("k", j, e))
        score = apply("multiply", Reduce("add", (e,), product), self.scale)
        hidden = Lit(self.hidden, score.dtype)
        return apply("where", self.seen(i, j), score, hidden) if self.sizes.causal else score

    def seen(self, i: Expr, j: Expr) -> Expr:
        return apply("greater_equal", i, j)

    def back(self, i: Expr, j: Expr) -> Expr:
        """The cotangent of a weight."""
        e = Iter(self.sizes.width)
        return Reduce("add", (e,), apply("multiply", self.at("g", i, e), self.at("v", j, e)))

    def rounded(self, weight: Expr, i: Expr, j: Expr) -> Expr:
        """A weight as it is multiplied."""
        if self.sizes.causal:
            weight = Select(self.seen(i, j), weight, Lit(0.0, weight.dtype))
        kind = dtype(self.sizes.kind)
        return cast(weight, kind) if kind.is_narrow else weight

    def number(self) -> Buffer:
        return Buffer(TensorType(dtype(wide(self.sizes.kind)), ()), "row")

    # Kernels --------------------------------------------------------------------------------------
    def forward(self) -> Kernel:
        s, i = self.sizes, Iter(self.sizes.queries)
        m, l = self.number(), self.number()  # noqa: E741
        j, k, n, d = Iter(s.keys), Iter(s.keys), Iter(s.keys), Iter(s.width)
        grown = apply("exp", apply("subtract", self.score(i, k), Load(m, NONE)))
        weight = apply("exp", apply("subtract", self.score(i, n), Load(m, NONE)))
        weight = self.rounded(apply("divide", weight, Load(l, NONE)), i, n)
        total = Reduce("add", (n,), apply("multiply", weight, self.at("v", n, d)))
        place = (*self.lead, i)
        stages = (
            Stage((j,), (Store(m, NONE, self.score(i, j), "maximum"),)),
            Stage((k,), (Store(l, NONE, grown, "add"),)),
            Stage(
                (),
                (
                    Store(self.buffers["m"], place, Load(m, NONE)),
                    Store(self.buffers["l"], place, Load(l, NONE)),
                ),
            ),
            Stage((d,), (Store(self.buffers["o"], (*place, d), total),)),
        )
        return Kernel((*self.lead, i), stages)

    def weight(self, i: Expr, j: Expr) -> Expr:
        """A weight, from the numbers that the forward kernel left."""
        grown = apply("exp", apply("subtract", self.score(i, j), self.at("m", i)))
        return apply("divide", grown, self.at("l", i))

    def slope(self, i: Expr, j: Expr, mean: Expr) -> Expr:
        """The cotangent of a score."""
        less = apply("subtract", self.back(i, j), mean)
        product = apply("multiply", less, self.weight(i, j))
        return self.rounded(apply("multiply", product, self.scale), i, j)

    def by_queries(self) -> Kernel:
        s, i, mean = self.sizes, Iter(self.sizes.queries), self.number()
        j, n, e = Iter(s.keys), Iter(s.keys), Iter(s.depth)
        part = apply("multiply", self.back(i, j), self.weight(i, j))
        if s.causal:
            part = apply("where", self.seen(i, j), part, Lit(0.0, part.dtype))
        slope = self.slope(i, n, Load(mean, NONE))
        total = Reduce("add", (n,), apply("multiply", slope, self.at("k", n, e)))
        place = (*self.lead, i)
        stages = (
            Stage((j,), (Store(mean, NONE, part, "add"),)),
            Stage((), (Store(self.buffers["d"], place, Load(mean, NONE)),)),
            Stage((e,), (Store(self.buffers["dq"], (*place, e), total),)),
        )
        return Kernel(place, stages)

    def by_keys(self) -> Kernel:
        s, j = self.sizes, Iter(self.sizes.keys)
        i, n, e, d = Iter(s.queries), Iter(s.queries), Iter(s.depth), Iter(s.width)
        slope, weight = self.slope(i, j, self.at("d", i)), self.rounded(self.weight(n, j), n, j)
        first = Reduce("add", (i,), apply("multiply", self.at("q", i, e), slope))
        second = Reduce("add", (n,), apply("multiply", weight, self.at("g", n, d)))
        place = (*self.lead, j)
        stages = (
            Stage((e,), (Store(self.buffers["dk"], (*place, e), first),)),
            Stage((d,), (Store(self.buffers["dv"], (*place, d), second),)),
        )
        return Kernel(place, stages)

    # Numbers --------------------------------------------------------------------------------------
    def given(self) -> dict[str, Array]:
        """Arrays for what is read, and what they are in float64."""
        rng = np.random.default_rng(0)
        return {
            name: rng.normal(size=self.buffers[name].shape).astype(dtype(self.sizes.kind).numpy)
            for name in ("q", "k", "v", "g")
        }

    def wanted(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Everything in float64."""
        q, k, v, g = (given[name].astype(float) for name in ("q", "k", "v", "g"))
        score = q @ k.swapaxes(-1, -2) * self.scale
        seen = np.ones(score.shape[-2:], bool)
        if self.sizes.causal:
            seen = np.tril(seen)
        score = np.where(seen, score, self.hidden)
        m = score.max(-1)
        grown = np.exp(score - m[..., None])
        weight = np.where(seen, grown / grown.sum(-1)[..., None], 0)
        back = g @ v.swapaxes(-1, -2)
        mean = (back * weight).sum(-1)
        slope = np.where(seen, (back - mean[..., None]) * weight * self.scale, 0)
        return {
            "m": m,
            "l": grown.sum(-1),
            "o": weight @ v,
            "d": mean,
            "dq": slope @ k,
            "dk": slope.swapaxes(-1, -2) @ q,
            "dv": weight.swapaxes(-1, -2) @ g,
        }
