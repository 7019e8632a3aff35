"""The most memory that this process has had, as the operating system counts it.

Comes in: nothing. Goes out: bytes. On Linux the mark can be put back to what is resident now, so
that steps are measured without what compiling them took.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Start again from what is in use now, where the system can do that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc: give back what is free
        trim(ctypes.c_size_t(0))
    if CLEAR.exists():
        CLEAR.write_text("5")  # proc(5): reset the peak resident set size


def peak_bytes() -> int:
    """The most bytes resident since the start or the last reset."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
