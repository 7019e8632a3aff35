"""Machine code as text: SASS, the instructions that the GPU executes.

Comes in: a cubin. Goes out: its instructions, one a line. A separate file because it is a program
of its own (``nvdisasm``), which only those need who look.
"""

from __future__ import annotations

import subprocess
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from graphc.errors import CompilerBug, UserError

PACKAGE = "nvidia-cuda-nvdisasm"
PROGRAMS = ("nvdisasm", "nvdisasm.exe")
SECONDS = 60.0


def program() -> Path:
    """Where the disassembler lies. Raises `UserError` GC0403 where its package is not installed."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise UserError(
            "GC0403",
            "there is no disassembler for NVIDIA's machine code",
            fix=f"pip install {PACKAGE}, or look at the level 'ptx'",
        ) from None
    found = [file for file in package.files or () if file.name in PROGRAMS]
    if not found:
        raise UserError("GC0403", f"the package {PACKAGE} {package.version} has no program in it")
    return Path(str(package.locate_file(found[0])))


def sass(cubin: bytes) -> str:
    """The instructions of a cubin. Raises `UserError` GC0403, `CompilerBug`."""
    disassembler = program()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        command = [str(disassembler), "--print-code", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise CompilerBug(f"nvdisasm cannot read a cubin: {done.stderr.strip()}")
    return done.stdout
