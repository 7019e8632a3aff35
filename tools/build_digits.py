"""Builds frontends/data/digits.npz, the digits that come with the package, from the MNIST files.

usage: python tools/build_digits.py FOLDER OUTPUT.npz

FOLDER holds the four MNIST files (train-images-idx3-ubyte.gz and so on). Of every digit, 1,000
training and 200 test images are taken, evenly spread over that digit's images in file order (the
test file begins with cleaner writing than it ends with), and kept in file order. No chance is
involved: the same files give the same bytes.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphc.frontends.data import read_idx

PARTS = {"train": ("train", 1000), "test": ("t10k", 200)}


def spread(labels: NDArray[np.uint8], per_class: int) -> NDArray[np.intp]:
    """The positions of `per_class` examples of every class, evenly spread, in ascending order."""
    positions = [np.flatnonzero(labels == digit) for digit in range(10)]
    return np.sort(
        np.concatenate([p[np.arange(per_class) * len(p) // per_class] for p in positions])
    )


def main(folder: Path, output: Path) -> None:
    """Reads the four files from `folder` and writes the chosen part to `output`."""
    arrays = {}
    for part, (prefix, per_class) in PARTS.items():
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        chosen = spread(labels, per_class)
        arrays[f"{part}_images"] = images[chosen]
        arrays[f"{part}_labels"] = labels[chosen]
    np.savez_compressed(output, **arrays)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
