"""Zip archives from strangers: what `.npz` files and PyTorch's checkpoints are.

Comes in: a path. Goes out: entries by name, as bytes in memory; nothing is written to disk. A
separate step because both kinds of file must be safe from the same attacks before anything in them
is read: names that lead out of the archive or come twice, entries that lie inside each other
(Fifield 2019, A better zip bomb), sizes that no compression reaches, and too much in all.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from graphc.frontends.training.stored import Array

METHODS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""How many bytes each byte can at most unpack to (Deutsch 1996, DEFLATE: 258 in two bits)."""
SLACK = 64
"""Bytes that a short entry may have more: the ratio holds for long ones."""
LOCAL_HEADER = 30
"""The size of what stands before each entry, without its name."""
ENCRYPTED = 1
CHUNK = 2**20


@contextmanager
def opened(path: Path, limit: int) -> Iterator[zipfile.ZipFile]:
    """The archive at ``path``, whose entries may unpack to ``limit`` bytes, or its own size.

    Raises ValueError for an archive that is not safe, and what zipfile raises for one that is none.
    """
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
        for entry in entries:
            _check_entry(entry)
        if len({entry.filename for entry in entries}) != len(entries):
            raise ValueError("it has two entries of one name")
        _check_places(entries, file.start_dir)
        total = sum(entry.file_size for entry in entries)
        if total > max(limit, path.stat().st_size):
            raise ValueError(f"it unpacks to {total} bytes, more than the {limit} allowed")
        yield file


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"its entry {name!r} leads out of the archive")
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
        raise ValueError(f"its entry {name!r} is encrypted, or compressed in an unusual way")
    if entry.file_size > METHODS[entry.compress_type] * entry.compress_size + SLACK:
        raise ValueError(f"its entry {name!r} claims {entry.file_size} bytes, and cannot have them")


def _check_places(entries: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Each entry ends before the next begins."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    starts = [entry.header_offset for entry in ordered] + [end]
    for entry, following in zip(ordered, starts[1:], strict=True):
        if entry.header_offset + LOCAL_HEADER + entry.compress_size > following:
            raise ValueError(f"its entry {entry.filename!r} lies inside another one")


def content(file: zipfile.ZipFile, name: str) -> Array:
    """The bytes of an entry, as an array that may be written to.

    Raises ValueError when there is no such entry, or it has another size than the archive says;
    and what zipfile raises when its checksum is wrong.
    """
    try:
        size = file.getinfo(name).file_size
    except KeyError as error:
        raise ValueError(f"it has no entry {name!r}") from error
    found = np.empty(size, np.uint8)
    place = 0
    with file.open(name) as entry:  # which compares the checksum at the end
        while piece := entry.read(CHUNK):
            stop = place + len(piece)
            if stop > size:
                break
            found[place:stop] = np.frombuffer(piece, np.uint8)
            place = stop
    if place != size or piece:
        raise ValueError(f"its entry {name!r} has another size than the archive says")
    return found
