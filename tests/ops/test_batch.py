"""The rule of every op for stacks of operands, against one element after another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from graphc.backends.interpreter import Interpreter
from graphc.batch import batched
from graphc.errors import UserError
from graphc.graph import Graph, Op, toposort
from graphc.ops.leaves import Input
from graphc.ops.library import LibraryCall
from samples import DISTINCT, Sample

SIZE = 3
WITHOUT_A_RULE = {"to_tiles", "from_tiles"}
"""What only passes make."""


def has_rule(op: Op) -> bool:
    base: Any = LibraryCall if op.kind == "call" else Op
    own = any(
        getattr(type(op), rule) is not getattr(base, rule) for rule in ("batch", "joint_batch")
    )
    return op.kind == "pointwise" or op.stackable or own


def ops_of(sample: Sample) -> list[Op]:
    return [n.op for n in toposort([sample.build(*sample.inputs())]) if n.inputs]


VECTORISED = [s for s in DISTINCT if s.values and all(map(has_rule, ops_of(s)))]
OTHERS = [s for s in DISTINCT if s.values and s not in VECTORISED]


def test_all_ops_but_a_few_have_a_rule():
    without = {op.name for s in DISTINCT for op in ops_of(s) if not has_rule(op)}
    assert without == WITHOUT_A_RULE


def choices(sample: Sample) -> Iterator[tuple[bool, ...]]:
    """Which inputs have a stack: all, and each with and without, while they are few."""
    count = len(sample.values)
    if count > 3:
        yield (True,) * count
    else:
        yield from (c for c in product((True, False), repeat=count) if any(c))


@pytest.mark.parametrize("sample", VECTORISED, ids=str)
def test_a_stack_gives_the_stack_of_the_results(sample: Sample):
    inputs = sample.inputs()
    y = sample.build(*inputs)
    drawn = [sample.draw(seed) for seed in range(SIZE)]
    for stacked in choices(sample):
        arrays = [
            np.stack([d[k] for d in drawn]) if whole else drawn[0][k]
            for k, whole in enumerate(stacked)
        ]
        stacks = {
            x: Input(f"stack{k}", x.type.with_shape((SIZE, *x.shape)), 100 + k)()
            for k, (x, whole) in enumerate(zip(inputs, stacked, strict=True))
            if whole
        }
        (result,) = batched([y], stacks, SIZE)
        leaves = tuple(stacks.get(x, x) for x in inputs)
        (ours,) = Interpreter(Graph(leaves, (result,))).run(arrays)
        single = Interpreter(Graph(tuple(inputs), (y,)))
        for place in range(SIZE):
            each = [a[place] if whole else a for a, whole in zip(arrays, stacked, strict=True)]
            (wanted,) = single.run(each)
            assert ours[place].dtype == wanted.dtype
            tolerance = max(sample.tolerance, 1e-6)
            np.testing.assert_allclose(ours[place], wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sample", OTHERS, ids=str)
def test_an_op_without_a_rule_says_so(sample: Sample):
    inputs = sample.inputs()
    stacks = {
        x: Input("stack", x.type.with_shape((SIZE, *x.shape)), 100 + k)()
        for k, x in enumerate(inputs)
    }
    with pytest.raises(UserError, match=r"GC0104: .* cannot be vectorised"):
        batched([sample.build(*inputs)], stacks, SIZE)
