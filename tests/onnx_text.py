"""ONNX models written as text, for tests of single operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.parser import parse_model

from graphc.frontends.dsl.structure import flatten
from graphc.frontends.onnx import Model, load

DOMAINS = '"ai.onnx.ml" : 5, "ai.onnx.preview.training" : 1'


def model(inputs: str, body: str, outputs: str = "y", version: int = 18) -> Model:
    """The model whose nodes are ``body``, in ONNX's text format.

    ``inputs`` are typed, ``"float[N,3] x"``. All ``outputs`` are declared as floats, whatever they
    are: what a model says about them is not looked at.
    """
    results = ", ".join(f"float {name}" for name in outputs.split())
    head = f'<ir_version: 8, opset_import: ["" : {version}, {DOMAINS}]>'
    return load(parse_model(f"{head} test ({inputs}) => ({results}) {{ {body} }}"))


def run(inputs: str, body: str, *arrays: Any, version: int = 18, outputs: str = "y") -> list[Any]:
    """The results for ``arrays`` on the numpy backend."""
    return model(inputs, body, outputs, version).run(*arrays, backend="numpy")


def run_everywhere(
    inputs: str, body: str, *arrays: Any, version: int = 18, outputs: str = "y"
) -> list[Any]:
    """The results for ``arrays`` on both backends, which must agree."""
    one = model(inputs, body, outputs, version)
    found, oracle = (one.run(*arrays, backend=name) for name in ("llvm", "numpy"))
    for a, b in zip(flatten(found)[0], flatten(oracle)[0], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return found
