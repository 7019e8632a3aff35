"""The state of NumPy's random generators as an array, so that a checkpoint can hold it.

Comes in: a `numpy.random.Generator`, which shuffles batches or draws noise outside of the graph.
Goes out: a parameter of its words, and the generator set back to it. A separate step because NumPy
tells its state as nested dicts, and a checkpoint holds arrays of fixed shapes only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.frontends.dsl.leaves import parameter, value
from graphc.frontends.dsl.tensor import Tensor

WORD = 64


class Source:
    """A NumPy generator as a part of a checkpoint; its kind is in the name of its state."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        state = generator.bit_generator.state
        words = np.array(list(_words(state)), np.uint64)
        kind = state["bit_generator"]
        self._state = {kind: parameter(words, kind, trainable=False, dtype="uint64")}

    def named_state(self) -> dict[str, Tensor]:
        """The words of the state, as they were when this was made."""
        return self._state

    def restore(self) -> None:
        """Set the generator to the state that the parameter holds now."""
        (words,) = (iter(value(p).tolist()) for p in self._state.values())
        bits = self.generator.bit_generator
        bits.state = _filled(bits.state, words)


def _words(state: Any) -> Iterator[int]:
    """All numbers in ``state``, those of 128 bits as two words, the low one first."""
    if isinstance(state, dict):
        for part in state.values():
            yield from _words(part)
    elif isinstance(state, np.ndarray):
        yield from map(int, state)
    elif not isinstance(state, str):
        yield from (int(state) % 2**WORD, int(state) >> WORD)


def _filled(state: Any, words: Iterator[int]) -> Any:
    """``state`` with its numbers replaced by ``words``, in the same order."""
    if isinstance(state, dict):
        return {name: _filled(part, words) for name, part in state.items()}
    if isinstance(state, np.ndarray):
        return np.array([next(words) for _ in state], state.dtype)
    if isinstance(state, str):
        return state
    low, high = next(words), next(words)
    return low + (high << WORD)
