"""Mixed precision: products with operands of 16 bits, everything else in float32.

Comes in: a dtype, for as long as a block of Python runs; operands of a product. Goes out: the
product, of rounded operands inside such a block, and with a rounded cotangent. A separate step
because models then need not know of it: what multiplies matrices or filters asks here, and nobody
else.

Source: Micikevicius and others, Mixed precision training, 2018. As there, products are added up in
float32; they are not rounded to 16 bits afterwards, so sums, norms, exponentials and losses need no
list of their own: they see float32. PyTorch's autocast rounds results too, and so their gradients;
here a rule for the gradient alone does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from graphc.errors import UserError
from graphc.graph import Node
from graphc.ops.copy import OwnGradient
from graphc.ops.elementwise import cast_to
from graphc.types import FLOAT32, DType, dtype

_NARROW: ContextVar[DType | None] = ContextVar("autocast", default=None)


@contextmanager
def autocast(to: Any = "bfloat16", *, enabled: bool = True) -> Iterator[None]:
    """Inside the block float32 operands of ``matmul``, ``@``, ``einsum``, linear layers, attention
    and convolutions are rounded to ``to``, "bfloat16" or "float16"; they are multiplied and added
    up in float32, which the result has.

    ``with nn.autocast("bfloat16"): loss = nn.cross_entropy(model(x), labels)``

    It holds where graphs are built, and for the gradients of what was built there: parameters and
    optimisers stay float32. What flows back to a product, its bias included, is rounded to ``to``
    before it is multiplied with the rounded operands, and so is what flows on to each of them: with
    float16 small gradients become 0 and large ones inf (`optim.LossScaler` finds a scale between
    the two). Sums are float32 there too, as are gradients of float32 parameters. Operands of other
    dtypes are left as they are. ``enabled=False`` switches it off inside another block. It
    decorates functions, too. Raises `UserError` GC0102.
    """
    wanted = dtype(to)
    if not wanted.is_narrow:
        raise UserError(
            "GC0102",
            f"autocast to {wanted.name}",
            why="it rounds operands of products to 16 bits",
            fix="use 'bfloat16' or 'float16'",
        )
    before = _NARROW.set(wanted if enabled else None)
    try:
        yield
    finally:
        _NARROW.reset(before)


def multiplied(make: Callable[..., Node], *operands: Node) -> Node:
    """``make(*operands)``: where `autocast` says so, of operands rounded to 16 bits. The result is
    not rounded; its cotangent is, before derivatives multiply it with operands, so that products of
    the backward pass have narrow factors only, as those of the forward pass.
    """
    narrow = _NARROW.get()
    if narrow is None or any(x.dtype != FLOAT32 for x in operands):
        return make(*operands)

    def rounded(x: Node) -> Node:
        return cast_to(cast_to(x, narrow), x.dtype)

    def rule(g: Node, *_: Node) -> tuple[Node]:
        return (rounded(g),)

    value = make(*map(rounded, operands))
    return OwnGradient("autocast", rule, walks=True)(value, value)
