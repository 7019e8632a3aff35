"""Real handwritten digits that come with the package: a balanced part of MNIST.

Comes in: nothing. Goes out: `Digits`, 10,000 training and 2,000 test images with labels. A separate
step because examples, tests and the demo need real data where no download is possible. README.md in
this folder says who made the images, under which licence, and how the part was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

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
