"""What the tests of the command line share: running a command, and a user's file."""

from types import SimpleNamespace

import pytest

from graphc.cli import main

MODEL = """
import numpy as np

import graphc as gc

x = gc.input("x", ("batch", 4))
w = gc.param(np.ones((4, 3), np.float32), name="w")
h = gc.tanh(x @ w)
loss = (h * h).mean()
both = {"loss": loss, "h": h}
step = gc.compile([x], loss, updates={w: w - 0.1 * gc.grad(loss, [w])[0]}, backend="numpy")
number = 3


def model(x: "f32[n,4]", scale=2.0):
    return gc.exp(x) * scale


def untyped(a, b):
    return a + b


@gc.jit
def traced(a: "f32[3]"):
    return a * 2
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A user's model in the current folder, called model_under_test.py."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model_under_test.py"
    path.write_text(MODEL, "utf-8")
    return path.name


@pytest.fixture
def graphc(capsys):
    """Runs a command; goes out as its status, output and errors."""

    def run(*arguments: str) -> SimpleNamespace:
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return SimpleNamespace(status=status, out=captured.out, err=captured.err)

    return run
