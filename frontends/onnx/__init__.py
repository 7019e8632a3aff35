"""ONNX models in and out. Needs the extra ``onnx``: ``pip install 'graphc[onnx]'``.

Comes in: a file of ONNX's format (operator sets 7 and up, https://onnx.ai). Goes out: a `Model`,
which is a module of graphc like any other. And back: `export` writes tensors, graphs and compiled
functions as such files.
"""

from graphc.frontends.onnx import operators
from graphc.frontends.onnx.backend import Backend
from graphc.frontends.onnx.exporting import export
from graphc.frontends.onnx.model import Model, load
from graphc.frontends.onnx.registry import operator
from graphc.frontends.onnx.values import Undecided

__all__ = ["Backend", "Model", "Undecided", "export", "load", "operator", "operators"]
