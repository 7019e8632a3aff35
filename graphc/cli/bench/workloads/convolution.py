"""Convolutions: single layers of every kind of cost, and small networks of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Backward, Model, Train, Workload, normal
from graphc.cli.bench.workloads import in_jax


@dataclass(frozen=True)
class Layer(Model):
    """One convolution without padding or bias."""

    inputs_: int
    outputs: int
    size: int
    kernel: int
    batch: int = 16

    def inputs(self, rng: np.random.Generator) -> Arrays:
        left = self.size - self.kernel + 1
        return {
            "x": normal(rng, self.batch, self.inputs_, self.size, self.size),
            "cotangent": normal(rng, self.batch, self.outputs, left, left),
        }

    def parameters(self, rng: np.random.Generator) -> Arrays:
        fan = self.inputs_ * self.kernel**2
        shape = (self.outputs, self.inputs_, self.kernel, self.kernel)
        return {"weight": normal(rng, *shape, scale=fan**-0.5)}

    def graphc(self, gc: Any, x: Any, weight: Any) -> Any:
        return gc.nn.conv(x, weight)

    def torch(self, torch: Any, x: Any, weight: Any) -> Any:
        return torch.nn.functional.conv2d(x, weight)

    def jax(self, jax: Any, x: Any, weight: Any) -> Any:
        return in_jax.conv(jax, x, weight, 1, 0)


@dataclass(frozen=True)
class Pair(Model):
    """The mean of two 3x3 convolutions with ReLU, which keep the sizes, as in VGG."""

    batch: int
    channels: int
    size: int

    seed = 1027
    """Keeps all values 5e-6 away from 0, where rounding would decide which way gradients go."""

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.batch, self.channels, self.size, self.size)}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        c = self.channels
        kernels = {name: normal(rng, c, c, 3, 3, scale=(9 * c) ** -0.5) for name in ("w0", "w1")}
        return kernels | {name: normal(rng, c, scale=0.1) for name in ("b0", "b1")}

    def graphc(self, gc: Any, x: Any, w0: Any, w1: Any, b0: Any, b1: Any) -> Any:
        x = gc.relu(gc.nn.conv(x, w0, b0, padding=1))
        return gc.relu(gc.nn.conv(x, w1, b1, padding=1)).mean()

    def torch(self, torch: Any, x: Any, w0: Any, w1: Any, b0: Any, b1: Any) -> Any:
        x = torch.relu(torch.conv2d(x, w0, b0, padding=1))
        return torch.relu(torch.conv2d(x, w1, b1, padding=1)).mean()

    def jax(self, jax: Any, x: Any, w0: Any, w1: Any, b0: Any, b1: Any) -> Any:
        x = jax.nn.relu(in_jax.conv(jax, x, w0, 1, 1) + b0[:, None, None])
        return jax.nn.relu(in_jax.conv(jax, x, w1, 1, 1) + b1[:, None, None]).mean()


@dataclass(frozen=True)
class LeNet(Model):
    """Cross-entropy of LeNet-5 (LeCun et al. 1998), with ReLU and the largest of each window."""

    batch: int

    channels_last = True

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.batch, 1, 28, 28), "labels": rng.integers(0, 10, self.batch)}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        shapes = ((6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84))
        found: Arrays = {}
        for k, shape in enumerate(shapes):
            found[f"w{k}"] = normal(rng, *shape, scale=float(np.prod(shape[1:])) ** -0.5)
            found[f"b{k}"] = normal(rng, shape[0], scale=0.1)
        return found

    def graphc(self, gc: Any, x: Any, labels: Any, **p: Any) -> Any:
        x = gc.nn.max_pool(gc.relu(gc.nn.conv(x, p["w0"], p["b0"], padding=2)), 2)
        x = gc.nn.max_pool(gc.relu(gc.nn.conv(x, p["w1"], p["b1"])), 2)
        x = gc.relu(gc.nn.linear(x.reshape((self.batch, -1)), p["w2"], p["b2"]))
        x = gc.relu(gc.nn.linear(x, p["w3"], p["b3"]))
        return gc.nn.cross_entropy(gc.nn.linear(x, p["w4"], p["b4"]), labels)

    def torch(self, torch: Any, x: Any, labels: Any, **p: Any) -> Any:
        functional, relu = torch.nn.functional, torch.relu
        x = functional.max_pool2d(relu(torch.conv2d(x, p["w0"], p["b0"], padding=2)), 2)
        x = functional.max_pool2d(relu(torch.conv2d(x, p["w1"], p["b1"])), 2)
        x = relu(functional.linear(x.flatten(1), p["w2"], p["b2"]))
        x = relu(functional.linear(x, p["w3"], p["b3"]))
        return functional.cross_entropy(functional.linear(x, p["w4"], p["b4"]), labels)

    def jax(self, jax: Any, x: Any, labels: Any, **p: Any) -> Any:
        relu, last = jax.nn.relu, in_jax.CHANNELS_LAST
        x = x.transpose(0, 2, 3, 1)
        x = in_jax.halved(relu(in_jax.conv(jax, x, p["w0"], 1, 2, last) + p["b0"]))
        x = in_jax.halved(relu(in_jax.conv(jax, x, p["w1"], 1, 0, last) + p["b1"]))
        x = x.transpose(0, 3, 1, 2).reshape(self.batch, -1)
        x = relu(x @ p["w2"].T + p["b2"])
        x = relu(x @ p["w3"].T + p["b3"])
        return in_jax.cross_entropy(jax, x @ p["w4"].T + p["b4"], labels)


def _layer(name: str, *sizes: int) -> tuple[Workload, ...]:
    full, quick = Layer(*sizes), Layer(3, 4, 7, 3, 2)
    return (
        Workload(name, full, quick, bar=1.2),
        Workload(f"{name}-backward", full, quick, bar=1.2, task=Backward(("x", "weight"))),
    )


WORKLOADS = (
    Workload("lenet", LeNet(64), LeNet(2), bar=3.0, task=Train(rate=0.1)),
    Workload("vgg", Pair(4, 64, 56), Pair(2, 3, 5), bar=1.5, task=Backward(("w0", "w1"))),
    *_layer("conv-L2", 64, 128, 64, 9),
    *_layer("conv-L3", 128, 128, 32, 9),
    *_layer("conv-L4", 128, 128, 16, 7),
    *_layer("conv-L5", 384, 384, 13, 3),
)
"""L2 to L5 are the layers of soumith's convnet-benchmarks."""
