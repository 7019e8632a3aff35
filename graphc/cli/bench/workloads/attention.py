"""Transformers: training steps of a GPT that predicts the next symbol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Train, Workload, normal
from graphc.cli.bench.workloads import in_jax


@dataclass(frozen=True)
class GPT(Model):
    """Cross-entropy of a decoder with pre-normalisation (Radford et al. 2019).

    There are no biases before attention: softmax does not see the keys', so its gradient is nothing
    but rounding, of which Adam would make steps of full size.
    """

    layers: int
    width: int
    heads: int
    time: int
    batch: int
    symbols: int = 64

    def inputs(self, rng: np.random.Generator) -> Arrays:
        shape = (self.batch, self.time)
        return {name: rng.integers(0, self.symbols, shape) for name in ("text", "following")}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        d = self.width
        found = {"symbol": normal(rng, self.symbols, d), "place": normal(rng, self.time, d)}
        matrices = {"qkv": (3 * d, d), "mix": (d, d), "up": (4 * d, d), "down": (d, 4 * d)}
        for k in range(self.layers):
            for name, (far, near) in matrices.items():
                found[f"{name}{k}"] = normal(rng, far, near, scale=near**-0.5)
                if name != "qkv":
                    found[f"{name}{k}_bias"] = normal(rng, far, scale=0.1)
        for name in [f"{part}{k}" for k in range(self.layers) for part in ("norm", "late")]:
            found |= self._norm(rng, name)
        found["head"] = normal(rng, self.symbols, d, scale=d**-0.5)
        return found | self._norm(rng, "end")

    def _norm(self, rng: np.random.Generator, name: str) -> Arrays:
        one = np.float32(1)
        return {
            name: one + normal(rng, self.width, scale=0.1),
            f"{name}_bias": normal(rng, self.width, scale=0.1),
        }

    @property
    def head_width(self) -> int:
        """Features of one head."""
        return self.width // self.heads

    # graphc -------------------------------------------------------------------------------------
    def graphc(self, gc: Any, text: Any, following: Any, **p: Any) -> Any:
        def linear(x: Any, name: str) -> Any:
            return gc.nn.linear(x, p[name], p.get(f"{name}_bias"))

        def norm(x: Any, name: str) -> Any:
            return gc.nn.functional.normalise(x, -1) * p[name] + p[f"{name}_bias"]

        x = gc.take(p["symbol"], text, 0) + p["place"]
        for k in range(self.layers):
            x = x + linear(self._attend(gc, linear(norm(x, f"norm{k}"), f"qkv{k}")), f"mix{k}")
            x = x + linear(gc.gelu(linear(norm(x, f"late{k}"), f"up{k}"), "tanh"), f"down{k}")
        return gc.nn.cross_entropy(gc.nn.linear(norm(x, "end"), p["head"]), following)

    def _attend(self, gc: Any, qkv: Any) -> Any:
        split = (self.batch, self.time, self.heads, self.head_width)
        q, k, v = (x.reshape(split).transpose((0, 2, 1, 3)) for x in gc.split(qkv, 3, axis=-1))
        scores = q @ k.mT * self.head_width**-0.5
        visible = gc.arange(self.time)[:, None] >= gc.arange(self.time)
        mixed = gc.softmax(gc.where(visible, scores, -1e9)) @ v
        return mixed.transpose((0, 2, 1, 3)).reshape((self.batch, self.time, self.width))

    # PyTorch ------------------------------------------------------------------------------------
    def torch(self, torch: Any, text: Any, following: Any, **p: Any) -> Any:
        functional = torch.nn.functional

        def linear(x: Any, name: str) -> Any:
            return functional.linear(x, p[name], p.get(f"{name}_bias"))

        def norm(x: Any, name: str) -> Any:
            return functional.layer_norm(x, (self.width,), p[name], p[f"{name}_bias"])

        def attend(qkv: Any) -> Any:
            q, k, v = qkv.view(*qkv.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return mixed.transpose(1, 2).reshape(*qkv.shape[:2], self.width)

        x = functional.embedding(text, p["symbol"]) + p["place"]
        for k in range(self.layers):
            x = x + linear(attend(linear(norm(x, f"norm{k}"), f"qkv{k}")), f"mix{k}")
            wide = functional.gelu(linear(norm(x, f"late{k}"), f"up{k}"), approximate="tanh")
            x = x + linear(wide, f"down{k}")
        scores = functional.linear(norm(x, "end"), p["head"])
        return functional.cross_entropy(scores.flatten(0, 1), following.flatten())

    # JAX ----------------------------------------------------------------------------------------
    def jax(self, jax: Any, text: Any, following: Any, **p: Any) -> Any:
        def linear(x: Any, name: str) -> Any:
            return x @ p[name].T + p.get(f"{name}_bias", 0)

        def norm(x: Any, name: str) -> Any:
            return in_jax.normalised(jax, x, -1) * p[name] + p[f"{name}_bias"]

        def attend(qkv: Any) -> Any:
            parts = jax.numpy.split(qkv, 3, -1)
            q, k, v = (x.reshape(*x.shape[:2], self.heads, self.head_width) for x in parts)
            return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(parts[0].shape)

        x = p["symbol"][text] + p["place"]
        for k in range(self.layers):
            x = x + linear(attend(linear(norm(x, f"norm{k}"), f"qkv{k}")), f"mix{k}")
            x = x + linear(jax.nn.gelu(linear(norm(x, f"late{k}"), f"up{k}")), f"down{k}")
        return in_jax.cross_entropy(jax, norm(x, "end") @ p["head"].T, following)


QUICK = GPT(2, 8, 2, 5, 3, 7)
WORKLOADS = (
    Workload("gpt", GPT(2, 128, 4, 64, 16), QUICK, bar=2.0, task=Train(rate=0.1)),
    Workload("gpt-wide", GPT(4, 256, 4, 256, 4), QUICK, bar=1.5, task=Train("adam", 0.0001)),
)
"""Small steps for Adam: it goes as far along a gradient of mere rounding as along any other."""
