"""Nine image networks from outside: their logits against ONNX Runtime's, and one step of training.

The step goes along the gradient of the very loss that must fall, so no part of it is held fixed.
The gradient of all weights is checked along a random direction, by differences in float64: float32
loses them in the noise of a hundred layers.
"""

import numpy as np
import pytest

import graphc as gc
from architectures import EXPECTED, NAMES, image, network
from graphc import nn, optim
from graphc.frontends.onnx.model import load
from graphc.frontends.onnx.surroundings import Surroundings
from graphc.frontends.onnx.translate import translate

pytestmark = pytest.mark.outside

FAST = {"bvlc_alexnet", "squeezenet"}
SLOW_BUT_FOR_TWO = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_onnx_runtime(name):
    (found,) = load(network(name)).run(image())
    wanted = np.load(EXPECTED)[name]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_constant_weights_give_the_same():
    (found,) = load(network("squeezenet"), trainable=False).run(image())
    wanted = np.load(EXPECTED)["squeezenet"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", SLOW_BUT_FOR_TWO)
def test_one_step_of_training(name):
    model = load(network(name))
    x = gc.input("x", (1, 3, 224, 224))
    logits = model(x).reshape(1, 1000)
    spread = logits.std() + 1e-3  # random weights make logits of any size
    loss = nn.losses.cross_entropy(logits / spread, np.array([7]))
    parameters = model.parameters()
    slopes = optim.clip_by_global_norm(gc.grad(loss, parameters), 0.01)
    step = gc.compile([x], loss, updates=optim.SGD(0.1).step(parameters, slopes))
    before, after = float(step(image())), float(step(image()))
    assert np.isfinite([before, after]).all()
    assert after < before


@pytest.mark.parametrize("name", SLOW_BUT_FOR_TWO)
def test_gradient_of_all_weights_along_a_direction(name, rng):
    proto = network(name)
    model = load(proto)
    t = gc.input("t", (), "float64")
    values = {n: _moved(w, t, rng) for n, w in model.named_state().items()}
    values[model.inputs[0].name] = gc.constant(image())
    (logits,) = translate(proto.graph, values, Surroundings.of(proto))
    loss = (logits * rng.normal(size=logits.shape)).sum()
    # A hundred layers multiply what a step changes, so it must be tiny: at 1e-7 of the weights the
    # differences of DenseNet are wrong by a third, at 1e-9 those of all are right to 4 digits.
    found = gc.check_grad(loss, t, {t: 0.0}, epsilon=1e-9, rtol=1e-3, backend="llvm")
    assert found, str(found)


def _moved(weights, t, rng):
    start = weights.node.op.storage.array
    direction = rng.normal(size=start.shape) * np.abs(start).max()
    return gc.constant(start) + (t * gc.constant(direction, "float64")).astype("float32")
