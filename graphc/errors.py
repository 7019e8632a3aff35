"""The two ways to fail: the user's program is wrong, or the compiler is.

Comes in: a code, one line that says what is wrong, why, and what to do. Goes out: an exception
whose text is complete, so that it reads the same in a terminal, a notebook and a log. A separate
file because everything else may raise.
"""

from __future__ import annotations

from collections.abc import Sequence

CODES = {
    "GC0101": "shapes do not fit",
    "GC0102": "dtypes do not fit",
    "GC0103": "wrong number of dimensions",
    "GC0104": "an axis, size or option is out of range",
    "GC0105": "unknown dtype",
    "GC0106": "a tensor has no value while the graph is built",
    "GC0107": "not something a tensor can be made of",
    "GC0201": "no gradient here",
    "GC0202": "gradient of a non-scalar without a seed",
    "GC0203": "the result does not depend on this tensor",
    "GC0301": "the graph uses an input that was not listed",
    "GC0302": "missing or extra argument",
    "GC0303": "an array of the wrong shape was passed",
    "GC0304": "an array of the wrong dtype was passed",
    "GC0305": "a named size has no number",
    "GC0306": "an index is out of bounds",
    "GC0307": "not a number appeared",
    "GC0308": "a matrix cannot be decomposed",
    "GC0402": "unknown backend",
    "GC0403": "this backend is not available here",
    "GC0405": "the device has not enough memory",
    "GC0406": "the device failed",
    "GC0501": "a file cannot be read",
    "GC0502": "a checkpoint does not fit the model",
    "GC0503": "a command-line target cannot be found",
    "GC0504": "no program here can draw that format",
    "GC0505": "a model from outside needs what graphc lacks",
}
"""Every error code with its title; ``graphc explain CODE`` prints the page of each."""


class GraphcError(Exception):
    """Base of everything graphc raises on purpose."""


class UserError(GraphcError, ValueError):
    """The user's program is wrong; the message names what, where, why and what to do.

    ``code`` is a key of `CODES`; ``what`` is one line; ``why`` names the rule that was broken;
    ``fix`` is a concrete change to make. ``where`` (the user's source line) and ``operands`` are
    added by `located`, once, as near to the fault as possible.
    """

    def __init__(self, code: str, what: str, *, why: str = "", fix: str = "") -> None:
        self.code, self.what, self.why, self.fix = code, what, why, fix
        self.where = ""
        self.operands: Sequence[str] = ()
        super().__init__(what)

    def located(self, where: str, operands: Sequence[str] = ()) -> UserError:
        """Add the user's source line and the operands, unless an inner call already did."""
        if not self.where:
            self.where, self.operands = where, operands
        return self

    def __str__(self) -> str:
        lines = [f"{self.code}: {self.what}"]
        if self.where:
            lines += ["", self.where]
        lines += [f"    {operand}" for operand in self.operands]
        if self.why:
            lines += ["", f"  why: {self.why}"]
        if self.fix:
            lines += [f"  try: {self.fix}"]
        return "\n".join([*lines, f"  more: graphc explain {self.code}"])


class CompilerBug(GraphcError):
    """graphc broke one of its own rules: please report it with the text of the message."""
