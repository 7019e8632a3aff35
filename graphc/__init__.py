"""graphc: a static-graph compiler for deep learning to read, to look into and to use.

This file is the face of the package: it only hands names on. The functions of
`graphc.frontends.dsl` are here under their own names, as NumPy's are in numpy.
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from graphc.compile import Executable
from graphc.dims import Dim
from graphc.errors import CompilerBug, UserError
from graphc.frontends import dsl, nn, optim, training
from graphc.frontends.dsl import *  # noqa: F403
from graphc.frontends.optional import onnx_frontend as _onnx_frontend
from graphc.frontends.training import fit, load, read_arrays, save
from graphc.results import Result
from graphc.show.draw import Drawing, draw, to_graphviz
from graphc.show.export import to_networkx
from graphc.types import DType, TensorType

__version__ = _version("graphc")

__all__ = [
    "CompilerBug",
    "DType",
    "Dim",
    "Drawing",
    "Executable",
    "Result",
    "TensorType",
    "UserError",
    "draw",
    "fit",
    "load",
    "nn",
    "optim",
    "read_arrays",
    "save",
    "to_graphviz",
    "to_networkx",
    "training",
]
__all__ += dsl.__all__

if _TYPE_CHECKING:
    from graphc.frontends import onnx as onnx
else:

    def __getattr__(name: str) -> object:
        """`graphc.onnx`, whose packages are an extra: it is imported when it is used."""
        if name == "onnx":
            return _onnx_frontend()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
