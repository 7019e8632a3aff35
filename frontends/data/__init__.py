"""Datasets for examples, tests and the demo, and what turns files and arrays into batches."""

from graphc.frontends.data.batching import batch_count, batches, split
from graphc.frontends.data.digits import Digits, load_digits, read_digits
from graphc.frontends.data.idx import read_idx
from graphc.frontends.data.images import ImageFolder, Images, image_folder
from graphc.frontends.data.prefetch import prefetch
from graphc.frontends.data.text import Vocabulary, read_text, windows

__all__ = [
    "Digits",
    "ImageFolder",
    "Images",
    "Vocabulary",
    "batch_count",
    "batches",
    "image_folder",
    "load_digits",
    "prefetch",
    "read_digits",
    "read_idx",
    "read_text",
    "split",
    "windows",
]
