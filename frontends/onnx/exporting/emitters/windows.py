"""Windows that slide: pooling.

Comes in: sums and extremes of windows over trailing axes. Goes out: values. Their gradients have no
operators in ONNX, so they are written by definition, as are pools of integers.
"""

from __future__ import annotations

from graphc.dims import product
from graphc.frontends.onnx.exporting.definition import by_definition
from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.window import Window

POOLED = (1, 2, 3)
"""Numbers of axes that pooling operators slide over."""


@emits(Window)
def window(scope: Scope, op: Window, node: Node) -> Value:
    """MaxPool of floats (a minimum is one of the negative), an average times its count."""
    (x,) = node.inputs
    over = op.over
    if not node.dtype.is_float or over.rank not in POOLED:
        return by_definition(scope, node)
    name = op.function.name
    given = scope.full(x).cast(computing("MaxPool", node.dtype))
    found = _pooled(scope, op, node, -given if name == "minimum" else given)
    if name == "add":
        found = found * float(over.count)
    return (-found if name == "minimum" else found).cast(node.dtype)


def _pooled(scope: Scope, op: Window, node: Node, x: Value) -> Value:
    """All leading axes are the batch; there is one channel."""
    over, lead = op.over, x.rank - op.over.rank
    images = scope.reshape(x, (product(x.shape[:lead]), 1, *x.shape[lead:]))
    is_sum = op.function.name == "add"
    found = scope.make(
        "AveragePool" if is_sum else "MaxPool",
        images,
        dtype=x.dtype,
        shape=(*images.shape[:2], *node.shape[lead:]),
        kernel_shape=over.sizes,
        strides=over.strides,
        dilations=over.dilations,
        pads=(*over.low, *over.high),
        **({"count_include_pad": 1} if is_sum else {}),
    )
    return scope.reshape(found, node.shape)
