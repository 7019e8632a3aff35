"""Gradients through every case of ONNX's suite that has floats: float64, finite differences.

Each float input moves along a random direction, ``x + t * d``, and the derivative of a random sum
of the outputs by ``t`` is compared with differences. Inputs are first moved a little, away from
ties and corners, where no derivative exists.
"""

from fnmatch import fnmatchcase

import numpy as np
import onnx
import pytest

import graphc as gc
from conformance import FOLDER, cases, skipped
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.model import load
from graphc.frontends.onnx.values import Undecided

FLOATS = (np.float32, np.float64)
FLOAT_CODES = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
LARGEST = 1e4
"""Inputs beyond it test the range of floats, where differences are lost; others replace them."""
EXCEPTIONS = dict(
    line.split(maxsplit=1) for line in (FOLDER / "no_gradient.txt").read_text("utf-8").splitlines()
)

pytestmark = pytest.mark.outside


def _has_floats(name):
    case = cases()[name]
    graph = case.model.graph
    stored = {x.name for x in graph.initializer}
    sides = ([x for x in graph.input if x.name not in stored], graph.output)
    return all(any(x.type.tensor_type.elem_type in FLOAT_CODES for x in side) for side in sides)


CANDIDATES = [name for name in cases() if name not in skipped() and _has_floats(name)]
EXEMPT = {n: why for n in CANDIDATES for p, why in EXCEPTIONS.items() if fnmatchcase(n, p)}


@pytest.mark.parametrize("name", [n for n in CANDIDATES if n not in EXEMPT])
def test_gradient_of_case(name, rng):
    case = cases()[name]
    inputs, wanted = case.data_sets[0]
    loss, steps = loss_along_directions(load(case.model), inputs, wanted, rng)
    assert steps, "no input is a tensor whose value may vary"
    found = gc.check_grad(loss, steps, dict.fromkeys(steps, 0.0))
    assert found, str(found)


def loss_along_directions(model, inputs, wanted, rng):
    """A random sum of the finite outputs, and the scalars that move the float inputs."""
    fixed = set()
    while True:
        moved, steps = zip(
            *(_moved(x, k, k in fixed, rng) for k, x in enumerate(inputs)), strict=True
        )
        try:
            found = model(*moved)
        except Undecided as error:
            fixed |= {k for k, t in enumerate(steps) if t is not None and t.node in error.inputs}
            continue
        outputs, targets = flatten(found)[0], flatten(list(wanted))[0]
        terms = [_random_sum(y, v, rng) for y, v in zip(outputs, targets, strict=True)]
        return sum(terms), [t for t in steps if t is not None]


def _moved(x, place, is_fixed, rng):
    """``x`` as a tensor that depends on a scalar, and the scalar; others as they are, and None."""
    if is_fixed or getattr(x, "dtype", None) not in FLOATS:
        return x, None
    near = np.abs(x[np.isfinite(x)]).max(initial=0) <= LARGEST
    start = x + 0.01 * rng.uniform(size=x.shape) if near else rng.normal(size=x.shape)
    t = gc.input(f"t{place}", (), x.dtype)
    direction = gc.constant(rng.normal(size=x.shape), x.dtype)
    return gc.constant(start, x.dtype) + t * direction, t


def _random_sum(y, wanted, rng):
    if not isinstance(y, Tensor) or not y.dtype.is_float:
        return 0.0
    weights = rng.normal(size=y.shape) * np.isfinite(np.asarray(wanted))
    return gc.where(weights != 0, y * gc.constant(weights, y.dtype), 0.0).sum()


def test_nearly_all_are_differentiable(capsys):
    with capsys.disabled():
        print(
            f"\nONNX gradients: {len(CANDIDATES) - len(EXEMPT)} of {len(CANDIDATES)} cases", end=""
        )
    differentiable = [n for n in CANDIDATES if not EXEMPT.get(n, "").startswith("none:")]
    assert len(CANDIDATES) - len(EXEMPT) >= 0.95 * len(differentiable)
