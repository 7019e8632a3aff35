"""How each operation is written as ONNX nodes: one file per family, registered when imported."""

from graphc.frontends.onnx.exporting.emitters import (
    control,
    indexing,
    leaves,
    library,
    movement,
    pointwise,
    products,
    reduction,
    windows,
)

__all__ = [
    "control",
    "indexing",
    "leaves",
    "library",
    "movement",
    "pointwise",
    "products",
    "reduction",
    "windows",
]
