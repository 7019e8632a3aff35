"""What a GPU is measured by: arrays larger than its caches, products from 2048, whole steps.

The smallest array of a workload whose bar is a copy has 256 MB, several times the largest cache of
any GPU, so no call finds there what another left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Backward, Model, Train, Update, Workload, normal
from graphc.cli.bench.workloads import convolution, dense, elementwise, residual, rows
from graphc.cli.bench.workloads.attention import GPT
from graphc.cli.bench.workloads.optimisers import Weights
from graphc.cli.bench.workloads.reductions import Reduction, Transpose

COPY, EAGER, COMPILED, JAX = "copy", "torch", "torch.compile", "jax"
"""Kinds of peers."""


@dataclass(frozen=True)
class Sum(Model):
    """a + b: two arrays are read, one is written."""

    count: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {name: normal(rng, self.count) for name in "ab"}

    def added(self, module: Any, a: Any, b: Any) -> Any:
        """The formula, which is the same everywhere."""
        return a + b

    graphc = numpy = torch = jax = added


@dataclass(frozen=True)
class Chain(elementwise.Chain):
    """tanh(x * a + b) * sigmoid(x) - b: five passes over memory, or one."""

    mode = "max-autotune-no-cudagraphs"


@dataclass(frozen=True)
class Product(Model):
    """a @ b of float32: cuBLAS's own are the peer's, without TF32."""

    rows: int
    columns: int
    depth: int
    dtype = "float32"

    def inputs(self, rng: np.random.Generator) -> Arrays:
        shapes = {"a": (self.rows, self.depth), "b": (self.depth, self.columns)}
        return {name: normal(rng, *shape, dtype=self.dtype) for name, shape in shapes.items()}

    def product(self, module: Any, a: Any, b: Any) -> Any:
        """The formula, which is the same everywhere."""
        return a @ b

    graphc = numpy = torch = jax = product


@dataclass(frozen=True)
class NarrowProduct(Product):
    """a @ b of bfloat16, with sums in float32."""

    dtype = "bfloat16"
    tolerance = 1e-2


@dataclass(frozen=True)
class Linear(NarrowProduct):
    """x @ w.T of bfloat16, with sums in float32: a linear layer of a transformer."""

    def inputs(self, rng: np.random.Generator) -> Arrays:
        shapes = {"a": (self.rows, self.depth), "b": (self.columns, self.depth)}
        return {name: normal(rng, *shape, dtype=self.dtype) for name, shape in shapes.items()}

    def product(self, module: Any, a: Any, b: Any) -> Any:
        """The formula, which is the same everywhere."""
        return a @ b.T

    graphc = numpy = torch = jax = product


@dataclass(frozen=True)
class Attention(Model):
    """softmax(q @ k.T / sqrt(width)) @ v of every head, in bfloat16."""

    batch: int
    heads: int
    time: int
    width: int
    tolerance = 2e-2

    def inputs(self, rng: np.random.Generator) -> Arrays:
        shape, names = (self.batch, self.heads, self.time, self.width), ("q", "k", "v", "cotangent")
        return {name: normal(rng, *shape, dtype="bfloat16") for name in names}

    def graphc(self, gc: Any, q: Any, k: Any, v: Any) -> Any:
        return gc.nn.scaled_dot_product_attention(q, k, v)

    def torch(self, torch: Any, q: Any, k: Any, v: Any) -> Any:
        kernels, backends = torch.nn.attention, torch.nn.attention.SDPBackend
        with kernels.sdpa_kernel([backends.FLASH_ATTENTION, backends.MATH], set_priority=True):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@dataclass(frozen=True)
class SmallPerceptron(dense.Perceptron):
    """A perceptron so small that asking for a step takes longer than the step."""

    mode = "reduce-overhead"


@dataclass(frozen=True)
class NarrowGPT(GPT):
    """The GPT with products of bfloat16 operands; the rest is float32."""

    tolerance = 5e-2

    def graphc(self, gc: Any, text: Any, following: Any, **p: Any) -> Any:
        with gc.nn.autocast("bfloat16"):
            return super().graphc(gc, text, following, **p)

    def torch(self, torch: Any, text: Any, following: Any, **p: Any) -> Any:
        with torch.autocast(text.device.type, torch.bfloat16):
            return super().torch(torch, text, following, **p)

    jax = None  # type: ignore[assignment]


def _copying(name: str, model: Model, quick: Model, bar: float) -> Workload:
    return Workload(name, model, quick, bar, against=(COPY,), beside=(EAGER,))


def _memory() -> tuple[Workload, ...]:
    full, quick = (16384, 4096), (5, 19)
    return (
        _copying("gpu-add", Sum(1 << 27), Sum(1000), 0.9),
        Workload(
            "gpu-chain", Chain(1 << 26), Chain(1000), 0.95,
            against=(COMPILED,), beside=(COPY, EAGER, JAX),
        ),
        _copying("gpu-softmax", rows.Softmax(*full), rows.Softmax(*quick), 0.85),
        _copying("gpu-layer-norm", rows.LayerNorm(*full), rows.LayerNorm(*quick), 0.85),
        *(
            _copying(f"gpu-sum-{n}", Reduction(8192, "sum", k), Reduction(33, "sum", k), 0.85)
            for n, k in (("rows", 1), ("columns", 0))
        ),
        _copying("gpu-transpose", Transpose(8192), Transpose(33), 0.85),
        Workload(
            "gpu-adam", Weights(31, 2000), Weights(3, 5), 1.0, Update(),
            against=(EAGER,), beside=(COPY,),
        ),
    )  # fmt: skip


def _against(name: str, model: Model, quick: Model, bar: float, task: Any = None) -> Workload:
    more = {} if task is None else {"task": task}
    return Workload(name, model, quick, bar, against=(EAGER,), **more)


SHAPES = (
    (4096, 2304, 768), (4096, 768, 768), (4096, 3072, 768), (4096, 768, 3072),
    (4096, 12288, 4096), (4096, 11008, 4096), (4096, 4096, 11008), (8192, 8192, 8192),
    (256, 4096, 4096), (512, 11008, 4096), (1024, 4096, 11008), (1024, 8192, 1024),
)  # fmt: skip
"""Rows, columns and depth of linear layers: GPT-2 with 124 million parameters, then transformers
with 4096 features; at last batches of few tokens.
"""

ATTENTION, FEW = Attention(4, 16, 4096, 128), Attention(2, 2, 33, 16)
LAYER, SMALL_LAYER = convolution.Layer(256, 256, 58, 3, 64), convolution.Layer(3, 4, 7, 3, 2)
GPT_2, SMALL_GPT = NarrowGPT(12, 768, 12, 1024, 4, 50304), NarrowGPT(2, 8, 2, 5, 3, 7)

FAMILIES: dict[str, tuple[Workload, ...]] = {
    "gpu-memory": _memory(),
    "gpu-matmul": (
        *(
            _against(f"gpu-matmul-{n}", Product(n, n, n), Product(70, 66, 97), 0.85)
            for n in (2048, 4096, 8192)
        ),
        _against(
            "gpu-matmul-4096-bf16",
            NarrowProduct(4096, 4096, 4096),
            NarrowProduct(256, 128, 128),
            0.85,
        ),
    ),
    "gpu-shapes": tuple(
        _against(f"gpu-linear-{m}-{n}-{k}", Linear(m, n, k), Linear(100, 136, 72), 0.0)
        for m, n, k in SHAPES
    ),
    "gpu-attention": (
        _against("gpu-attention", ATTENTION, FEW, 0.9),
        _against("gpu-attention-backward", ATTENTION, FEW, 0.9, Backward(("q", "k", "v"))),
    ),
    "gpu-networks": (
        Workload(
            "gpu-mlp", SmallPerceptron((784, 512, 512, 10), 128), SmallPerceptron((9, 8, 7, 5), 6),
            1.0, Train(rate=0.1), against=(COMPILED, JAX), beside=(EAGER,), host_bar=15e-6,
        ),
        _against("gpu-conv", LAYER, SMALL_LAYER, 0.0),
        _against("gpu-conv-backward", LAYER, SMALL_LAYER, 0.0, Backward(("x", "weight"))),
        Workload(
            "gpu-resnet8", residual.ResNet(128, 32, 10, residual.CIFAR, False),
            residual.ResNet(3, 8, 5, residual.TINY, False), 0.0, residual.SGD,
            against=(COMPILED,), beside=(EAGER,),
        ),
        Workload(
            "gpu-gpt2", GPT_2, SMALL_GPT, 0.83, Train("adam", 0.0001),
            against=(COMPILED,), beside=(EAGER,),
        ),
    ),
}  # fmt: skip
"""Families by name."""

FAMILY_BARS = {"gpu-shapes": 0.8}
"""The least geometric mean of a family's ratios."""
