"""Phrases in sequences of numbers."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import run, run_everywhere

WORDS = np.array([[1, 2, 1, 2, 3], [3, 1, 1, 2, 2]])


def phrases(mode="TF", skip=1, pool="pool_int64s=[3, 1, 1, 2]", counts="0, 2", shortest=1):
    return f"""y = TfIdfVectorizer<mode="{mode}", max_gram_length=2, min_gram_length={shortest},
      max_skip_count={skip}, ngram_counts=[{counts}], ngram_indexes=[2, 0, 3],
      weights=[10., 20., 30., 40.], {pool}>(x)"""


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, [[2, 0, 1, 2], [2, 0, 1, 3]]),
        ({"skip": 0}, [[2, 0, 1, 2], [2, 0, 1, 1]]),
        ({"skip": 2}, [[2, 0, 1, 3], [2, 0, 1, 4]]),
        ({"shortest": 2}, [[0, 0, 0, 2], [0, 0, 0, 3]]),
        ({"mode": "IDF"}, [[10, 0, 30, 40], [10, 0, 30, 40]]),
        ({"mode": "TFIDF"}, [[20, 0, 30, 80], [20, 0, 30, 120]]),
    ],
)
def test_phrases_are_counted(options, counts):
    (y,) = run_everywhere("int64[2,5] x", phrases(**options), WORDS)
    np.testing.assert_array_equal(y, counts)


def test_a_single_row_that_is_too_short():
    (y,) = run_everywhere("int32[1] x", phrases(), np.array([3], np.int32))
    assert y.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("code", "options"),
    [("GC0505", {"pool": 'pool_strings=["a", "b", "c", "d"]'}), ("GC0501", {"counts": "0, 3"})],
)
def test_pools_that_do_not_fit(code, options):
    with pytest.raises(UserError, match=code):
        run("int64[2,5] x", phrases(**options), WORDS)
