"""Residual networks (He et al. 2016): a step of training with batch normalisation, and inference.

In training the statistics are the batch's own; the running ones, which nothing here reads, are left
out in all systems alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import FORWARD, Arrays, Model, Train, Workload, normal
from graphc.cli.bench.workloads import in_jax

Shape = tuple[int, int, int, int]
Block = tuple[tuple[Shape, ...], int]


@dataclass(frozen=True)
class ResNet(Model):
    """Scores, or their cross-entropy, of convolutions with shortcuts.

    ``stages`` holds (channels, blocks); ``neck`` is 1, or 4 for blocks that are narrow in the
    middle. ``large`` images are first reduced to a quarter. The numbers of ``kernels`` count the
    convolutions in the order in which they run: those of a block, then its shortcut's.
    """

    batch: int
    size: int
    classes: int
    stages: tuple[tuple[int, int], ...]
    large: bool
    neck: int = 1
    training: bool = True

    channels_last = True

    def inputs(self, rng: np.random.Generator) -> Arrays:
        found = {"x": normal(rng, self.batch, 3, self.size, self.size)}
        if self.training:
            found["labels"] = rng.integers(0, self.classes, self.batch)
        return found

    def parameters(self, rng: np.random.Generator) -> Arrays:
        found: Arrays = {}
        shapes = [self.stem, *(shape for block, _ in self.blocks() for shape in block)]
        for k, shape in enumerate(shapes):
            found[f"w{k}"] = normal(rng, *shape, scale=float(np.prod(shape[1:])) ** -0.5)
            found[f"scale{k}"] = 1 + normal(rng, shape[0], scale=0.1)
            found[f"shift{k}"] = normal(rng, shape[0], scale=0.1)
            if not self.training:
                found[f"mean{k}"] = normal(rng, shape[0], scale=0.1)
                found[f"variance{k}"] = 1 + np.abs(normal(rng, shape[0], scale=0.1))
        wide = self.stages[-1][0] * self.neck
        found["head"] = normal(rng, self.classes, wide, scale=wide**-0.5)
        return found | {"bias": normal(rng, self.classes, scale=0.1)}

    @property
    def stem(self) -> Shape:
        """The first weight."""
        kernel = 7 if self.large else 3
        return (self.stages[0][0], 3, kernel, kernel)

    def blocks(self) -> Iterator[Block]:
        """The weights of each block, the shortcut's last if it has any; and the stride."""
        before = self.stages[0][0]
        for stage, (channels, count) in enumerate(self.stages):
            for k in range(count):
                stride = 2 if stage and not k else 1
                yield self._block(before, channels, stride), stride
                before = channels * self.neck

    def _block(self, before: int, c: int, stride: int) -> tuple[Shape, ...]:
        wide = c * self.neck
        inner: tuple[Shape, ...] = ((c, before, 3, 3), (c, c, 3, 3))
        if self.neck > 1:
            inner = ((c, before, 1, 1), (c, c, 3, 3), (wide, c, 1, 1))
        return inner if stride == 1 and before == wide else (*inner, (wide, before, 1, 1))

    def features(self, x: Any, layer: Any, relu: Any, pool: Any) -> Any:
        """The network before its head: ``layer(x, k, stride, padding)`` convolves, normalises."""
        x = relu(layer(x, 0, 2 if self.large else 1, 3 if self.large else 1))
        x = pool(x) if self.large else x
        first = 1
        for shapes, stride in self.blocks():
            inner = 3 if self.neck > 1 else 2
            strided = 1 if self.neck > 1 else 0
            y = x
            for k, shape in enumerate(shapes[:inner]):
                y = layer(y, first + k, stride if k == strided else 1, shape[2] // 2)
                y = relu(y) if k < inner - 1 else y
            x = relu(y + (layer(x, first + inner, stride, 0) if len(shapes) > inner else x))
            first += len(shapes)
        return x

    # In every system ----------------------------------------------------------------------------
    def graphc(self, gc: Any, x: Any, labels: Any = None, **p: Any) -> Any:
        def layer(x: Any, k: int, stride: int, padding: int) -> Any:
            y = gc.nn.conv(x, p[f"w{k}"], stride=stride, padding=padding)
            scale, shift = p[f"scale{k}"][:, None, None], p[f"shift{k}"][:, None, None]
            if self.training:
                return gc.nn.functional.normalise(y, (0, 2, 3)) * scale + shift
            mean, variance = p[f"mean{k}"][:, None, None], p[f"variance{k}"][:, None, None]
            return (y - mean) * (gc.rsqrt(variance + 1e-5) * scale) + shift

        x = self.features(x, layer, gc.relu, lambda x: gc.nn.max_pool(x, 3, 2, 1))
        scores = gc.nn.linear(x.mean((2, 3)), p["head"], p["bias"])
        return gc.nn.cross_entropy(scores, labels) if self.training else scores

    def torch(self, torch: Any, x: Any, labels: Any = None, **p: Any) -> Any:
        functional = torch.nn.functional

        def layer(x: Any, k: int, stride: int, padding: int) -> Any:
            y = torch.conv2d(x, p[f"w{k}"], stride=stride, padding=padding)
            running = (p.get(f"mean{k}"), p.get(f"variance{k}"))
            affine = (p[f"scale{k}"], p[f"shift{k}"])
            return functional.batch_norm(y, *running, *affine, training=self.training)

        def pool(x: Any) -> Any:
            return functional.max_pool2d(x, 3, 2, 1)

        x = self.features(x, layer, torch.relu, pool)
        scores = functional.linear(x.mean((2, 3)), p["head"], p["bias"])
        return functional.cross_entropy(scores, labels) if self.training else scores

    def jax(self, jax: Any, x: Any, labels: Any = None, **p: Any) -> Any:
        def layer(x: Any, k: int, stride: int, padding: int) -> Any:
            y = in_jax.conv(jax, x, p[f"w{k}"], stride, padding)
            scale, shift = p[f"scale{k}"][:, None, None], p[f"shift{k}"][:, None, None]
            if self.training:
                return in_jax.normalised(jax, y, (0, 2, 3)) * scale + shift
            mean, variance = p[f"mean{k}"][:, None, None], p[f"variance{k}"][:, None, None]
            return (y - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + shift

        x = self.features(x, layer, jax.nn.relu, lambda x: in_jax.max_pool(jax, x, 3, 2, 1))
        scores = x.mean((2, 3)) @ p["head"].T + p["bias"]
        return in_jax.cross_entropy(jax, scores, labels) if self.training else scores


CIFAR = ((16, 1), (32, 1), (64, 1))
EIGHTEEN = ((64, 2), (128, 2), (256, 2), (512, 2))
FIFTY = ((64, 3), (128, 4), (256, 6), (512, 3))
TINY = ((4, 1), (6, 2))
SGD = Train(rate=0.001)
"""Small steps: rounding decides on which side of 0 some values fall, and so their gradients."""
TINY_STEPS = Train(rate=1e-6)
"""Fifty layers multiply what rounding changes: with larger steps all systems drift apart."""


def _imagenet(name: str, task: Any, stages: Any, neck: int, bar: float) -> Workload:
    training = task is not FORWARD
    full = ResNet(4, 224, 1000, stages, True, neck, training)
    return Workload(name, full, ResNet(2, 17, 5, TINY, True, neck, training), bar, task)


WORKLOADS = (
    Workload("resnet8", ResNet(32, 32, 10, CIFAR, False), ResNet(3, 8, 5, TINY, False), 2.0, SGD),
    _imagenet("resnet18", SGD, EIGHTEEN, 1, 1.2),
    _imagenet("resnet18-inference", FORWARD, EIGHTEEN, 1, 1.2),
    _imagenet("resnet50", TINY_STEPS, FIFTY, 4, 1.0),
)
"""ResNet-8 is that of CIFAR-10's images; ResNet-50 is there for the time it takes to compile."""
