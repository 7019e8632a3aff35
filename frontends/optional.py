"""Frontends whose packages are extras: they are there when somebody asks for them.

Comes in: nothing. Goes out: a module, or an error that says what to install. A separate file
because graphc and its command line must start without these packages.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from graphc.errors import UserError


def onnx_frontend() -> ModuleType:
    """`graphc.frontends.onnx`. Raises `UserError` GC0501 when the package onnx is missing."""
    try:
        return importlib.import_module("graphc.frontends.onnx")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("onnx", "google"):
            raise
        raise UserError(
            "GC0501",
            "reading and writing ONNX models needs the package onnx",
            fix="pip install 'graphc[onnx]'",
        ) from error
