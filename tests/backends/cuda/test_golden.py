"""The text of a few generated kernels: what changed in them is seen in a diff.

``pytest tests/backends/cuda/test_golden.py --update-golden`` writes the texts anew.
"""

from __future__ import annotations

import pytest

import graphc as gc
from scheduled import phases

Tensors = list[gc.Tensor]


def elementwise() -> tuple[Tensors, Tensors]:
    x, b = gc.input("x", (1000, 64)), gc.input("b", (64,))
    return [x, b], [gc.tanh(x + b) * 2]


def softmax() -> tuple[Tensors, Tensors]:
    x = gc.input("x", (1000, 500))
    return [x], [gc.softmax(x)]


def matmul() -> tuple[Tensors, Tensors]:
    a, b = gc.input("a", (512, 256)), gc.input("b", (256, 384))
    return [a, b], [gc.relu(a @ b)]


def transpose() -> tuple[Tensors, Tensors]:
    x = gc.input("x", (300, 200))
    return [x], [x.T]


GRAPHS = {make.__name__: make for make in (elementwise, softmax, matmul, transpose)}


@pytest.mark.parametrize("name", GRAPHS)
def test_golden(name: str, check_golden):
    texts = [phase.unit.text for phase in phases(*GRAPHS[name]())]
    check_golden(f"cuda/{name}.cu", "\n".join(texts))
