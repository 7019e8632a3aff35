"""All workloads, one file per family."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from graphc.cli.bench.workload import Workload
from graphc.cli.bench.workloads import (
    attention,
    convolution,
    dense,
    elementwise,
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
}
"""Families by name, in the order in which they are measured and listed."""

ON_REQUEST = {"growth"}
"""Families that are measured only when somebody names them."""

WORKLOADS: dict[str, Workload] = {w.name: w for family in FAMILIES.values() for w in family}


def chosen(patterns: Iterable[str]) -> list[Workload]:
    """The workloads whose name or family fits one of ``patterns`` (``*`` stands for anything).

    Without patterns all but those `ON_REQUEST`. Raises `UserError` GC0503 for a pattern that fits
    none.
    """
    wanted = list(patterns) or [family for family in FAMILIES if family not in ON_REQUEST]
    found = {pattern: _fitting(pattern) for pattern in wanted}
    lost = [pattern for pattern, names in found.items() if not names]
    if lost:
        near = ", ".join(get_close_matches(lost[0], (*FAMILIES, *WORKLOADS)))
        guess = f"did you mean {near}? " if near else ""
        raise UserError(
            "GC0503", f"no workload {lost[0]!r}", fix=f"{guess}all: graphc bench --list"
        )
    names = {name for each in found.values() for name in each}
    return [workload for name, workload in WORKLOADS.items() if name in names]


def _fitting(pattern: str) -> set[str]:
    family = {w.name for w in FAMILIES.get(pattern, ())}
    return family | {name for name in WORKLOADS if fnmatchcase(name, pattern)}
