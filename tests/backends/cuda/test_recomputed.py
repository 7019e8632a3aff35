"""Plain graphs of attention through the whole compiler: their scores are computed again, in any
order of threads.
"""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from attention_graphs import arrays, attention, graph, trained
from graphc import nn
from graphc.graph import Graph
from simulated import BACKEND, Case, failures

pytestmark = pytest.mark.sweep

SHAPE = (2, 2, 37, 20)
ATTENTION = {
    "plain": {},
    "causal": {"is_causal": True},
    "added mask": {"mask": (SHAPE[2:3] * 2, "float32")},
    "mask of bools": {"mask": ((2, 1, 37, 37), "bool")},
    "padding and causal": {"mask": ((2, 1, 1, 37), "bool"), "is_causal": True},
    "one sequence": {"queries": (1, 1, 41, 9), "is_causal": True},
    "three axes": {"queries": (3, 50, 7)},
    "other keys": {"keys": (2, 2, 65, 20), "values": (2, 2, 65, 33)},
    "shared heads": {"queries": (2, 4, 37, 20), "keys": (2, 2, 37, 20), "enable_gqa": True},
    "double": {"dtype": "float64"},
    "bfloat16": {"dtype": "bfloat16", "queries": (2, 2, 67, 32)},
    "bfloat16, causal": {"dtype": "bfloat16", "queries": (1, 2, 130, 64), "is_causal": True},
    "float16": {"dtype": "float16", "queries": (1, 2, 96, 16)},
}
TOLERANCE = {"float32": 5e-6, "float64": 1e-13, "bfloat16": 0.06, "float16": 0.01}


def cases() -> list[Case]:
    made = []
    for name, options in ATTENTION.items():
        inputs, result = attention(**{"queries": SHAPE, **options})
        dtype = options.get("dtype", "float32")
        for what, there in (("forward", ([*inputs], [result])), ("both", trained(inputs, result))):
            given = graph(*there)
            case = Case(f"{name}, {what}", given, arrays(given), TOLERANCE[dtype])
            made.append(case)
    return made


def layers() -> Graph:
    """A step of training of an encoder and a decoder."""
    encoder = nn.TransformerEncoderLayer(32, 2, 48, dropout=0.0, rng=0)
    decoder = nn.TransformerDecoderLayer(32, 2, 48, dropout=0.0, rng=1)
    x, y = gc.input("x", (40, 3, 32)), gc.input("y", (48, 3, 32))
    result = decoder(y, encoder(x))
    weights = [*encoder.parameters(), *decoder.parameters()]
    gradients = gc.grad((result**3).mean(), weights)
    updates = ((w.node, (w - g).node) for w, g in zip(weights, gradients, strict=True))
    return Graph((x.node, y.node), (result.node,), tuple(updates))


def test_attention():
    made = cases()
    for case in made:
        program, _ = case.compiled()
        queries, keys = (x.type.static_shape for x in case.graph.inputs[:2])
        scores = int(np.prod(queries[:-1])) * keys[-2]
        assert all(np.prod(b.shape) < scores for b in program.plan.offsets), case.name
    assert not failures(made)


def test_layers():
    made = layers()
    assert not failures([Case("layers", made, arrays(made), 2e-5)])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory(dtype):
    """Twice the places take twice the memory, not four times."""

    def arena(places: int) -> int:
        inputs, result = attention((1, 2, places, 16), dtype=dtype, is_causal=True)
        given, wanted = trained(inputs, result)
        step = gc.compile(given, wanted, backend=BACKEND)
        return step.program.plan.arena_bytes

    assert arena(512) == 2 * arena(256)
