"""Text as numbers: vocabularies of characters or words, and windows for language models.

Comes in: text. Goes out: arrays of indices, and text again. A separate step because a model sees
numbers only, and the vocabulary that made them must be kept with it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from graphc.errors import UserError

Codes = NDArray[np.int64]
Unit = Literal["character", "word"]

WORD = re.compile(r"\w+|[^\w\s]")
"""A run of letters and digits, or one sign; white space only stands between words."""
MAX_BYTES = 2**31


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a text is made of; the place of each is its code.

    ``unit`` says what text is cut into: characters, all kept, or words and single signs, with
    white space between them. ``unknown`` is the symbol for all that is in no vocabulary, and None
    where there is no such thing.
    """

    symbols: tuple[str, ...]
    unit: Unit = "character"
    unknown: str | None = None

    def __post_init__(self) -> None:
        """Raises `UserError` GC0104 for symbols that come twice, or an unknown without a place."""
        double = [symbol for symbol, count in Counter(self.symbols).items() if count > 1]
        if double or self.unknown not in (None, *self.symbols):
            what = f"{double[:5]} twice" if double else f"{self.unknown!r} not among its symbols"
            raise UserError("GC0104", f"a vocabulary with {what}", fix="name each symbol once")

    @classmethod
    def of(
        cls,
        text: str,
        unit: Unit = "character",
        *,
        size: int | None = None,
        least: int = 1,
        unknown: str | None = None,
    ) -> Vocabulary:
        """The vocabulary of a text: ``unknown`` first, then the others, the frequent before the
        rare, and those of equal frequency as they sort.

        Those that occur fewer than ``least`` times, and all beyond ``size`` symbols, are left out.
        Raises `UserError` GC0104.
        """
        if least < 1 or (size is not None and size < 1):
            raise UserError("GC0104", f"size={size}, least={least}", fix="use 1 or more")
        counts = Counter(_cut(text, unit))
        ordered = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
        kept = [s for s in ordered if counts[s] >= least and s != unknown]
        symbols = [*([] if unknown is None else [unknown]), *kept]
        return cls(tuple(symbols[:size]), unit, unknown)

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {symbol: code for code, symbol in enumerate(self.symbols)}

    def encode(self, text: str) -> Codes:
        """The codes ``int64[n]`` of a text's symbols.

        Raises `UserError` GC0107 for a symbol that is not there, when none stands for it.
        """
        codes = self._codes
        other = -1 if self.unknown is None else codes[self.unknown]
        cut = _cut(text, self.unit)
        found = [codes.get(symbol, other) for symbol in cut]
        if other < 0 and (wrong := [s for s, code in zip(cut, found, strict=True) if code < 0]):
            raise UserError(
                "GC0107",
                f"{wrong[0]!r} is not in the vocabulary of {len(self)} symbols",
                fix="make the vocabulary of all the text, or with unknown=, a symbol for the rest",
            )
        return np.array(found, np.int64)

    def decode(self, codes: Iterable[int] | np.ndarray[Any, Any]) -> str:
        """The text of codes, with a space between words. Raises `UserError` GC0306."""
        found = np.asarray(codes, np.int64).reshape(-1)
        if found.size and not 0 <= found.min() <= found.max() < len(self):
            raise UserError("GC0306", f"codes from {found.min()} to {found.max()}, of {len(self)}")
        space = " " if self.unit == "word" else ""
        return space.join(self.symbols[code] for code in found)


def _cut(text: str, unit: Unit) -> Sequence[str]:
    """The symbols of a text. Raises `UserError` GC0104."""
    if unit not in ("character", "word"):
        raise UserError("GC0104", f"text in units of {unit!r}", fix="use 'character' or 'word'")
    return text if unit == "character" else WORD.findall(text)


def windows(codes: np.ndarray[Any, Any], length: int, stride: int = 1) -> tuple[Any, Any]:
    """What a language model learns from: pieces of a text, and the symbols that follow each.

    Both ``[n, length]``, the second one place further; a piece begins every ``stride`` places. They
    are views of ``codes [m]``, read-only, so that all windows of a long text need no memory. Raises
    `UserError` GC0104 for a text that is too short, GC0103 when codes are no vector.
    """
    if np.ndim(codes) != 1:
        raise UserError("GC0103", f"windows of codes of shape {np.shape(codes)}", fix="one axis")
    if length < 1 or stride < 1 or len(codes) <= length:
        raise UserError(
            "GC0104",
            f"windows of {length} symbols, every {stride}, in a text of {len(codes)}",
            why="each needs the symbol that follows it, too",
            fix=f"use a length from 1 to {len(codes) - 1}, and a stride of 1 or more",
        )
    whole = np.lib.stride_tricks.sliding_window_view(codes, length + 1)[::stride]
    return whole[:, :-1], whole[:, 1:]


def read_text(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> str:
    """The text in a UTF-8 file of at most ``max_bytes``. Raises `UserError` GC0501."""
    try:
        size = Path(path).stat().st_size
        if size > max_bytes:
            raise ValueError(f"it has {size} bytes, more than the {max_bytes} allowed")
        return Path(path).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UserError(
            "GC0501", f"{path} cannot be read as text: {error}", fix="give a UTF-8 text file"
        ) from error
