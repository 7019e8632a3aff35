"""All workloads, one file per family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from graphc.cli.bench.workload import Workload
from graphc.cli.bench.workloads import (
    attention,
    convolution,
    dense,
    elementwise,
    files,
    gpu,
    growth,
    matmul,
    ocean,
    optimisers,
    recurrent,
    reductions,
    residual,
    rows,
)
from graphc.errors import UserError

FAMILIES: dict[str, tuple[Workload, ...]] = {
    "elementwise": elementwise.WORKLOADS,
    "rows": rows.WORKLOADS,
    "reductions": reductions.WORKLOADS,
    "ocean": ocean.WORKLOADS,
    "matmul": matmul.WORKLOADS,
    "dense": dense.WORKLOADS,
    "convolution": convolution.WORKLOADS,
    "residual": residual.WORKLOADS,
    "recurrent": recurrent.WORKLOADS,
    "attention": attention.WORKLOADS,
    "optimisers": optimisers.WORKLOADS,
    "growth": growth.WORKLOADS,
    **gpu.FAMILIES,
}
"""Families by name, in the order in which they are measured and listed."""

ON_GPU = [*gpu.FAMILIES]
"""The families of the suite gpu."""

ON_REQUEST = {"growth", *ON_GPU}
"""Families that are measured only when somebody names them."""

WORKLOADS: dict[str, Workload] = {w.name: w for family in FAMILIES.values() for w in family}


def workload_of(name: str) -> Workload:
    """The workload with this name, which may be that of an ONNX file."""
    return files.from_file(name) if files.is_file(name) else WORKLOADS[name]


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: workloads as they are listed, then files."""
    wanted = dict.fromkeys(names)
    known = [name for name in WORKLOADS if name in wanted]
    return (*known, *(name for name in wanted if name not in WORKLOADS))


def chosen(patterns: Iterable[str], sizes: Mapping[str, int] | None = None) -> list[Workload]:
    """The workloads whose name or family fits one of ``patterns`` (``*`` stands for anything), and
    the ONNX files among them, with ``sizes`` for their named sizes.

    Without patterns all but those `ON_REQUEST`. Raises `UserError` GC0503 for a pattern that fits
    none, GC0305 for a size that no file has, and for files what `find_target` does.
    """
    wanted = list(patterns) or [family for family in FAMILIES if family not in ON_REQUEST]
    found = {pattern: _fitting(pattern, sizes or {}) for pattern in wanted}
    lost = [pattern for pattern, names in found.items() if not names]
    if lost:
        near = ", ".join(get_close_matches(lost[0], (*FAMILIES, *WORKLOADS)))
        guess = f"did you mean {near}? " if near else ""
        raise UserError(
            "GC0503", f"no workload {lost[0]!r}", fix=f"{guess}all: graphc bench --list"
        )
    names = ordered(n for each in found.values() for n in each)
    if strange := {*(sizes or {})} - {size for name in names for size in files.sizes_of(name)}:
        raise UserError("GC0305", f"no model here has a size {min(strange)!r}")
    return [workload_of(name) for name in names]


def _fitting(pattern: str, sizes: Mapping[str, int]) -> list[str]:
    if files.is_file(pattern):
        return [files.named(pattern, sizes)]
    family = {w.name for w in FAMILIES.get(pattern, ())}
    return [n for n in WORKLOADS if n in family or fnmatchcase(n, pattern)]
