"""Nine published image networks, from AlexNet to DenseNet-121, with seeded random weights.

Comes in: the ``light_*`` models of the package ``onnx``, whose weights are constants. Goes out: the
same networks with numbers that tell a wrong result from a right one. The logits that ONNX Runtime
gives for them are in ``architectures.npz``; ``python tests/architectures.py`` makes that file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = tuple(sorted(f.stem.removeprefix("light_") for f in FOLDER.glob("light_*.onnx")))
EXPECTED = Path(__file__).parent / "frontends" / "onnx" / "architectures.npz"


def network(name: str) -> onnx.ModelProto:
    """The network called ``name`` up to its logits: the softmax at the end is left out."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    graph = model.graph
    initial = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
    rng = np.random.default_rng(sorted(NAMES).index(name))
    users = {x: (node, k) for node in graph.node for k, x in enumerate(node.input)}
    weights, nodes = [], []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(int(n) for n in initial[node.input[0]])
            array = _weights(*_first_use(node.output[0], users), shape, rng)
            weights.append(numpy_helper.from_array(array, node.output[0]))
        else:
            nodes.append(node)
    if nodes[-1].op_type == "Softmax":
        graph.output[0].name = nodes.pop().input[0]
    used = {name for node in nodes for name in node.input}
    kept = [x for x in graph.initializer if x.name in used]
    inputs = [x for x in graph.input if x.name in used and x.name not in initial]
    model.ir_version = 8  # since 4, initialisers need not be inputs too
    parts = (nodes, graph.name, inputs, list(graph.output), [*kept, *weights])
    model.graph.CopyFrom(helper.make_graph(*parts))
    return model


def image(seed: int = 0) -> Any:
    """One picture of the size that all of them take."""
    return np.random.default_rng(seed).normal(size=(1, 3, 224, 224)).astype(np.float32)


def _first_use(name: str, users: Mapping[str, Any]) -> tuple[str, int]:
    """The operator that uses ``name`` and at which place, through what only moves it."""
    node, place = users[name]
    while node.op_type in ("Unsqueeze", "Reshape") and place == 0:
        node, place = users[node.output[0]]
    return node.op_type, place


def _weights(operator: str, place: int, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """He's normal weights; factors and variances about 1; offsets and means about 0."""
    if operator in ("Conv", "Gemm") and place == 1:
        fan_in = np.prod(shape[1:])
        return rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
    factor = (operator, place) in {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)}
    low, high = (0.5, 1.5) if factor else (-0.1, 0.1)
    return rng.uniform(low, high, shape).astype(np.float32)


def _by_onnxruntime(name: str) -> Any:
    import onnxruntime  # noqa: PLC0415  needed here only

    session = onnxruntime.InferenceSession(network(name).SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: image()})[0]


if __name__ == "__main__":
    np.savez_compressed(EXPECTED, **{name: _by_onnxruntime(name) for name in NAMES})
    sys.exit(0)
