"""Datasets for examples, tests and the demo: embedded digits, IDX files, mini-batches."""

from graphc.frontends.data.batching import batches
from graphc.frontends.data.digits import Digits, load_digits
from graphc.frontends.data.idx import read_idx

__all__ = ["Digits", "batches", "load_digits", "read_idx"]
