"""Operator overloads, written once for nodes, scalar expressions, patterns and tensors.

Comes in: Python operators. Goes out: calls of one method, `combine(name, *operands)`, with the
names of `scalars.py`. A separate file so that ``a * (1 - b)`` means the same in a gradient rule, a
rewrite rule and a user's model.
"""

from __future__ import annotations

from typing import Any, Self


class Arithmetic:
    """Gives a class Python's arithmetic with its own instances and with Python numbers.

    Not an abstract base class: those make every ``isinstance`` of an expression slow.
    """

    __slots__ = ()

    def combine(self, function: str, *operands: Any) -> Self:
        """Apply the scalar function called ``function`` to ``operands``; ``self`` is one."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Self:
        return self.combine("add", self, other)

    def __radd__(self, other: Any) -> Self:
        return self.combine("add", other, self)

    def __sub__(self, other: Any) -> Self:
        return self.combine("subtract", self, other)

    def __rsub__(self, other: Any) -> Self:
        return self.combine("subtract", other, self)

    def __mul__(self, other: Any) -> Self:
        return self.combine("multiply", self, other)

    def __rmul__(self, other: Any) -> Self:
        return self.combine("multiply", other, self)

    def __truediv__(self, other: Any) -> Self:
        return self.combine("divide", self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self.combine("divide", other, self)

    def __floordiv__(self, other: Any) -> Self:
        return self.combine("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Self:
        return self.combine("floor_divide", other, self)

    def __mod__(self, other: Any) -> Self:
        return self.combine("remainder", self, other)

    def __rmod__(self, other: Any) -> Self:
        return self.combine("remainder", other, self)

    def __pow__(self, other: Any) -> Self:
        return self.combine("power", self, other)

    def __rpow__(self, other: Any) -> Self:
        return self.combine("power", other, self)

    def __neg__(self) -> Self:
        return self.combine("negative", self)

    def __abs__(self) -> Self:
        return self.combine("abs", self)

    def __lt__(self, other: Any) -> Self:
        return self.combine("less", self, other)

    def __le__(self, other: Any) -> Self:
        return self.combine("less_equal", self, other)

    def __gt__(self, other: Any) -> Self:
        return self.combine("greater", self, other)

    def __ge__(self, other: Any) -> Self:
        return self.combine("greater_equal", self, other)

    def __and__(self, other: Any) -> Self:
        return self.combine("bitwise_and", self, other)

    def __rand__(self, other: Any) -> Self:
        return self.combine("bitwise_and", other, self)

    def __or__(self, other: Any) -> Self:
        return self.combine("bitwise_or", self, other)

    def __ror__(self, other: Any) -> Self:
        return self.combine("bitwise_or", other, self)

    def __xor__(self, other: Any) -> Self:
        return self.combine("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> Self:
        return self.combine("bitwise_xor", other, self)

    def __invert__(self) -> Self:
        return self.combine("bitwise_invert", self)

    def __lshift__(self, other: Any) -> Self:
        return self.combine("bitwise_left_shift", self, other)

    def __rshift__(self, other: Any) -> Self:
        return self.combine("bitwise_right_shift", self, other)
