"""Files that are whole or not there.

Comes in: a path. Goes out: a file to write to, which takes its place at the end. A separate file
because drawings, checkpoints and models all are written so: a reader, or a process that is killed,
never leaves half of one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file that becomes ``path`` when all is written; what was there stays until then, and for
    good when writing fails. Raises OSError.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:  # not mkstemp, whose files only their owner may read
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
