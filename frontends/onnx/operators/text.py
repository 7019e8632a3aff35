"""Features of text that is given as numbers of words.

Comes in: sequences of integers. Goes out: how often phrases are in them. A separate file because
graphc has no tensors of text: operators on strings are not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import evaluate
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import operator
from graphc.frontends.onnx.translate import literal
from graphc.graph import Array
from graphc.types import FLOAT32, INT64

Numbers = Sequence[int]


@operator("TfIdfVectorizer")
def tfidf_vectorizer(
    x: Tensor,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Numbers,
    ngram_indexes: Numbers,
    pool_int64s: Numbers = (),
    pool_strings: Sequence[str] = (),
    weights: Sequence[float] | None = None,
) -> Tensor:
    """How often each phrase of a pool is in ``x`` ``[length]`` or ``[n, length]``: float32, at the
    place that ``ngram_indexes`` gives it.

    A phrase is found with up to ``max_skip_count`` words between each of its words and the next, of
    which there are always as many. ``mode`` "IDF" counts once what is there, and, as "TFIDF" does,
    multiplies by the weights of the places.
    """
    if pool_strings:
        raise UserError("GC0505", "phrases of strings", fix="number the words, and use pool_int64s")
    rows = (x if x.ndim == 2 else x.reshape(1, -1)).astype(INT64)
    total = gc.zeros((rows.shape[0], max(ngram_indexes) + 1), FLOAT32)
    skipped = min(max_skip_count, evaluate(rows.shape[1], {}))  # no row has more words
    for phrases, places in _phrases(pool_int64s, ngram_counts, ngram_indexes):
        length = phrases.shape[1]
        if min_gram_length <= length <= max_gram_length:
            for step in range(1, 2 if length == 1 else skipped + 2):
                total = total.at[:, literal(places)].add(_found(rows, phrases, step))
    counted = (total > 0).astype(FLOAT32) if mode == "IDF" else total
    weighed = counted if mode == "TF" or not weights else counted * np.asarray(weights, np.float32)
    return weighed if x.ndim == 2 else weighed[0]


def _phrases(pool: Numbers, starts: Numbers, places: Numbers) -> Iterator[tuple[Array, Array]]:
    """The phrases ``[n, length]`` of each length from 1 on, and their places in the result.

    Raises `UserError` GC0501 where the lists do not fit.
    """
    begin = 0
    for length, (first, last) in enumerate(pairwise([*starts, len(pool)]), 1):
        count = (last - first) // length
        if not 0 <= first <= last or (last - first) % length or begin + count > len(places):
            raise UserError("GC0501", f"TfIdfVectorizer: phrases of {length} words at {first}")
        own = np.array(places[begin : begin + count], np.int64)
        yield np.array(pool[first:last], np.int64).reshape(count, length), own
        begin += count


def _found(rows: Tensor, phrases: Array, step: int) -> Tensor:
    """How often each phrase is in each row, with its words ``step`` apart."""
    length = phrases.shape[1]
    starts = max(evaluate(rows.shape[1], {}) - (length - 1) * step, 0)
    places = np.arange(starts)[:, None] + step * np.arange(length)
    windows = gc.take(rows, literal(places), axis=1)
    return (windows[:, :, None] == phrases).all(-1).astype(FLOAT32).sum(1)
