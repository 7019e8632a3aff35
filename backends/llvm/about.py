"""What the native backend can say about itself, for `graphc doctor` and reports of speed.

Comes in: nothing. Goes out: facts by name. A separate file because nothing that compiles needs it.
"""

from __future__ import annotations

from graphc.backends.llvm.entry import obstacle
from graphc.backends.llvm.machine import host
from graphc.backends.llvm.threads import thread_count
from graphc.cache import default

SHOWN = ("sse2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bf16", "amx-bf16", "neon", "sve")
"""The features of processors that make a difference to generated code."""


def about() -> dict[str, str]:
    """Processor, vector width, LLVM, threads, cache folder and its content."""
    machine = host()
    return {
        "LLVM": machine.fingerprint.split(" | ")[0].removeprefix("llvm "),
        "processor": f"{machine.cpu} ({machine.triple})",
        "vectors": f"{machine.vector_bytes} bytes, {machine.registers} registers",
        "features": " ".join(name for name in SHOWN if machine.has(name)) or "none of note",
        "threads": str(thread_count()),
        "calls": f"through ctypes: {obstacle()}" if obstacle() else "direct",
        "cache": _cache(),
    }


def _cache() -> str:
    cache = default()
    if cache is None:
        return "off (GRAPHC_CACHE=0)"
    if not cache.usable:
        return f"{cache.folder}: cannot be used"
    entries = list(cache.folder.glob("*.object"))
    size = sum(path.stat().st_size for path in entries)
    return f"{cache.folder}: {len(entries)} entries, {size / 1e6:.1f} MB"
