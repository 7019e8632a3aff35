"""Real handwritten digits that come with the package: a balanced part of MNIST.

Comes in: nothing, or a folder with all of MNIST. Goes out: `Digits`, images with labels. A separate
step because examples, tests and the demo need real data where no download is possible. README.md in
this folder says who made the images, under which licence, and how the part was chosen.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphc.errors import UserError
from graphc.frontends.data.idx import read_idx

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Digits:
    """Images `uint8[n, 28, 28]` (0 is paper, 255 is ink) and labels `uint8[n]` from 0 to 9."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def load_digits() -> Digits:
    """Returns the embedded digits: 10,000 for training, 2,000 for testing, balanced.

    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (CC BY-SA 3.0).
    """
    file = resources.files(__package__).joinpath("digits.npz")
    with resources.as_file(file) as path, np.load(path, allow_pickle=False) as arrays:
        return Digits(**{name: arrays[name] for name in Digits.__dataclass_fields__})


FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def read_digits(folder: str | os.PathLike[str]) -> Digits:
    """The digits in a folder with the four IDX files of MNIST, or of a successor such as Fashion
    MNIST, gzipped (``.gz``) or not.

    Raises `UserError` GC0501 for a file that is missing, cannot be read, or does not fit the
    others: images are bytes ``[n, height, width]``, labels bytes ``[n]``.
    """
    places = {name: Path(folder, file) for name, file in FILES.items()}
    packed = {name: place.with_name(f"{place.name}.gz") for name, place in places.items()}
    found = {n: read_idx(p if p.exists() else packed[n]) for n, p in places.items()}
    for part in ("train", "test"):
        images, labels = found[f"{part}_images"], found[f"{part}_labels"]
        if images.ndim != 3 or labels.shape != images.shape[:1] or images.dtype != labels.dtype:
            raise UserError(
                "GC0501",
                f"{folder}: {part} images {images.shape} and labels {labels.shape} do not fit",
                fix="put the four files of one data set into the folder",
            )
    return Digits(**found)
