"""Folders of images: one folder for each class, read when a batch asks for them.

Comes in: the path of a folder. Goes out: images that behave like an array, labels, and names of
classes. A separate step because images from outside differ in size, format and colours, may be
broken, and may be far larger than their files look: each is checked before it is unpacked.

Needs Pillow, which comes with `pip install 'graphc[data]'`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import UserError

Bytes = NDArray[np.uint8]

FORMATS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".pgm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""The formats that are read, by Pillow's names, and the endings of their files. What a file is, is
told by its content; files with other endings are left alone."""
ENDINGS = {ending for endings in FORMATS.values() for ending in endings}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's names for images of so many channels."""
MAX_PIXELS = 2**26
SIXTEEN_BITS = "I;16"
BROKEN = (OSError, ValueError, SyntaxError, EOFError, MemoryError, IndexError, TypeError, KeyError)
"""What Pillow raises about broken files, and its own `DecompressionBombError`."""


@dataclass(frozen=True)
class Images:
    """Image files as an array ``uint8[n, channels, height, width]``, of which only the rows that
    are asked for are read.

    Each image is scaled until it covers ``size`` (height, width), and what stands over is cut away
    on both sides. ``channels`` is 1 for grey, 3 for red, green and blue, 4 for these and opacity.
    """

    paths: tuple[Path, ...]
    size: tuple[int, int]
    channels: int = 3
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Raises `UserError` GC0104."""
        if self.channels not in MODES or len(self.size) != 2 or min(self.size) < 1:
            raise UserError(
                "GC0104",
                f"images of {self.channels} channels and size {self.size}",
                fix="use 1, 3 or 4 channels, and a size (height, width) of 1 or more",
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number, channels, height, width."""
        return (len(self.paths), self.channels, *self.size)

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """That of bytes: 0 is dark, 255 light."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Any) -> Bytes:
        """The images of an index, a slice or an array of indices, as an array.

        Raises `UserError` GC0501 for a file that cannot be read, or has more than ``max_pixels``;
        IndexError for one that is not there.
        """
        chosen = np.arange(len(self.paths))[rows]
        found = np.empty((*np.shape(chosen), *self.shape[1:]), np.uint8)
        for place in np.ndindex(np.shape(chosen)):
            found[place] = self._read(self.paths[int(chosen[place])])
        return found

    def _read(self, path: Path) -> Bytes:
        pillow = _pillow()
        try:
            with pillow.open(path, formats=tuple(FORMATS)) as image:
                width, height = image.size
                if width * height > self.max_pixels:
                    allowed = f"more than the {self.max_pixels} pixels allowed"
                    raise ValueError(f"it has {width} x {height}, {allowed}")
                return self._fitted(image)
        except (*BROKEN, pillow.DecompressionBombError) as error:
            raise UserError(
                "GC0501",
                f"{path} cannot be read as an image: {error or type(error).__name__}",
                fix="remove the file from the folder, or replace it",
            ) from error

    def _fitted(self, image: Any) -> Bytes:
        """A Pillow image as channels, height, width."""
        operations = importlib.import_module("PIL.ImageOps")
        turned = operations.exif_transpose(image)
        if turned.mode.startswith(SIXTEEN_BITS):
            turned = turned.point(lambda level: level / 256, "L")
        height, width = self.size
        fitted = operations.fit(turned.convert(MODES[self.channels]), (width, height))
        return np.asarray(fitted).reshape(height, width, self.channels).transpose(2, 0, 1)


@dataclass(frozen=True)
class ImageFolder:
    """Images, their labels ``int64[n]``, and the classes: label k is the folder ``classes[k]``."""

    images: Images
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def image_folder(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    channels: int = 3,
    *,
    max_pixels: int = MAX_PIXELS,
) -> ImageFolder:
    """The images in a folder that has a folder for each class: ``path/class/.../image.png``.

    Classes and images are sorted by name; nothing is read yet. See `Images` for the options, and
    `batches` for what to do with the result: ``batches([found.images, found.labels], 32, rng)``.

    Raises `UserError` GC0501 when there is no folder, a class has no images, or Pillow is missing.
    """
    _pillow()
    found = {folder.name: _files(folder) for folder in _folders(Path(path))}
    empty = [name for name, files in found.items() if not files]
    if empty or not found:
        what = f"no images in {', '.join(empty[:5])}" if empty else "no folders in it"
        raise UserError(
            "GC0501",
            f"{path} has {what}",
            why="there is a folder for each class, and its images are inside",
            fix=f"put files in that end in {', '.join(sorted(ENDINGS))}",
        )
    labels = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])
    paths = tuple(file for files in found.values() for file in files)
    return ImageFolder(Images(paths, size, channels, max_pixels), labels, tuple(found))


def _folders(path: Path) -> Sequence[Path]:
    """The folders in a folder, by name, without hidden ones."""
    try:
        return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise UserError("GC0501", f"{path} cannot be listed: {error}") from error


def _files(folder: Path) -> Sequence[Path]:
    """The image files in a folder and the folders in it."""
    inside = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return sorted(p for p in inside if p.suffix.lower() in ENDINGS and not p.name.startswith("."))


def _pillow() -> Any:
    """Pillow's module for images. Raises `UserError` GC0403 where it is not installed."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise UserError(
            "GC0501", "reading images needs Pillow", fix="pip install 'graphc[data]'"
        ) from error
