"""Graphviz programs: which one is here, and running it.

Comes in: DOT text and a format. Goes out: bytes. A separate step because no program is needed: the
built-in layout draws everything, and these are extras.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TIMEOUT = 20.0
"""Seconds. Flat graphs of some hundred nodes can take a layered layout minutes."""


def find_engine() -> str | None:
    """The program to draw DOT with: ``GRAPHC_DOT``, else dot, else graphviz-pure, else None.

    graphviz-pure, the extra ``graphc[dot]``, is also looked for beside the running Python, since a
    virtual environment need not be on the PATH.
    """
    chosen = os.environ.get("GRAPHC_DOT")
    if chosen:
        return shutil.which(chosen)
    beside = str(Path(sys.executable).parent)
    return (
        shutil.which("dot")
        or shutil.which("graphviz-pure")
        or shutil.which("graphviz-pure", path=beside)
    )


class EngineFailed(Exception):
    """A Graphviz program was there but did not draw; the text says why."""


def render(engine: str, dot: str, kind: str, timeout: float = TIMEOUT) -> bytes:
    """``dot`` drawn by ``engine`` as ``kind`` ("svg", "png", "pdf"). Raises `EngineFailed`."""
    try:
        done = subprocess.run(
            [engine, "-Kdot", f"-T{kind}"],
            input=dot.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"{Path(engine).name} took more than {timeout:.0f} s") from None
    except OSError as error:
        raise EngineFailed(f"{engine} cannot be run: {error}") from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[:500] or f"exit {done.returncode}"
        raise EngineFailed(f"{Path(engine).name} cannot draw {kind}: {said}")
    return done.stdout
