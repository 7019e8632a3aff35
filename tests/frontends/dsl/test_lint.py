"""What lint finds is nan when it runs; what it passes over is not."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import run

MASKED = {
    "log": lambda x: gc.where(x > 0, gc.log(x), 0.0),
    "log of a product": lambda x: gc.where(x > 0, gc.log(2 * x) + 1, 0.0),
    "sqrt": lambda x: gc.where(x == 0, 0.0, gc.sqrt(x * x)),
    "division": lambda x: gc.where(x == 0, 1.0, gc.sin(x) / x),
    "reciprocal": lambda x: gc.where(x == 0, 0.0, gc.reciprocal(x)),
    "power": lambda x: gc.where(x > 0, x**0.5, 0.0),
    "power of a tensor": lambda x: gc.where(x != 0, x**-1.5, 0.0),
    "norm": lambda x: gc.where((x * x).sum(1) == 0, 0.0, gc.sqrt((x * x).sum(1))),
    "arccos": lambda x: gc.where(abs(x) < 1, gc.arccos(x), 0.0),
}
FINE = {
    "double where": lambda x: gc.where(x > 0, gc.log(gc.where(x > 0, x, 1.0)), 0.0),
    "cut off": lambda x: gc.where(x > 0, gc.log(gc.maximum(x, 1e-6)), 0.0),
    "positive": lambda x: gc.where(x > 0, gc.log(gc.exp(x) + 1), gc.sqrt(x * x + 1)),
    "softmax": lambda x: gc.where(x > 0, gc.log(gc.softmax(x, 1)), 0.0),
    "no slope": lambda x: gc.where(x > 0, x**2, -(x**3)),
    "a number below": lambda x: gc.where(x > 0, x / 3, gc.log1p(gc.square(x))),
    "norm of something masked": lambda x: gc.sqrt((gc.where(x > 5, x, 0.0) ** 2).sum(1)),
    "norm with a floor": lambda x: gc.sqrt((gc.where(x > 5, x, 0.0) ** 2).sum(1) + 1e-6),
    "layer norm": lambda x: gc.where(x > 0, x / gc.sqrt(x.var(1, keepdims=True) + 1e-5), 0.0),
    "no choice": lambda x: gc.sqrt(gc.exp(x)) + gc.log(gc.exp(x)),
}


def gradient(program):
    x = np.array([[0.0, 1.0, -1.0], [0.0, 0.0, 0.0], [-2.0, 0.5, 3.0]])
    return run(lambda x: gc.grad(program(x).sum(), x)[0], x=x)


@pytest.mark.parametrize("name", MASKED)
def test_what_is_found_is_nan(name):
    findings = gc.lint(MASKED[name](gc.input("x", (3, 3), "float64")))
    assert findings
    assert all("test_lint.py" in str(f) and "gc.where" in f.fix for f in findings)
    assert np.isnan(gradient(MASKED[name])).any()


@pytest.mark.parametrize("name", FINE)
def test_what_is_passed_over_is_not(name):
    assert gc.lint(FINE[name](gc.input("x", (3, 3), "float64"))) == ()
    assert np.isfinite(gradient(FINE[name])).all()


def test_a_finding_names_the_line_the_reason_and_the_repair():
    x = gc.input("x", (3,))
    wrong = gc.log(x)
    (finding,) = gc.lint([gc.where(x > 0, wrong, 0).sum(), x.sum()])
    text = str(finding)
    assert "wrong = gc.log(x)" in text
    assert "hides values of log" in text
    assert "0 times infinity" in text
    assert "safe = gc.where(condition, x, 1)" in text


def test_losses_of_this_library_are_clean(rng):
    x, labels = gc.input("x", ("n", 4)), gc.input("labels", ("n",), "int64")
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
    loss = nn.cross_entropy(model(x), labels)
    assert gc.lint(loss) == ()
    assert gc.lint([loss, *gc.grad(loss, list(model.parameters()))]) == ()
