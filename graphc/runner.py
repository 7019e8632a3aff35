"""Backends by name: what each of them gives, and how it is found.

Comes in: the name of a backend. Goes out: the module that builds its executables. A separate step
because a backend may need packages that are not there, and may offer passes that others do not.

A backend's module has ``TAKES`` (the last stage it wants: "graph", "program", or "program without
scores", whose kernels compute scores of attention again), ``PASSES`` (the optional passes it
offers), ``place`` (where it takes arrays without a trip through the host), and ``build``; one that
takes programs has ``recall`` too.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from graphc.errors import UserError
from graphc.graph import Array
from graphc.results import Result

BACKENDS = {"numpy": "interpreter", "llvm": "llvm", "cuda": "cuda.nvidia", "cuda-sim": "cuda.sim"}
"""Backend names and the folders that hold them."""
Form = TypeVar("Form")


class Runner(Protocol):
    """What a backend builds. ``TEXTS`` names what `source` can print; ``HAS_MEMORY`` says whether
    parameters stay in memory of its own, from which `Storage` gets them back.
    """

    TEXTS: tuple[str, ...]
    HAS_MEMORY: bool

    def attempt(self, *arrays: Any) -> list[Array] | None:
        """`run`, if nothing need be converted or reported; None, with nothing done, otherwise."""
        ...

    def attempt_later(self, *arrays: Any) -> list[Result] | None:
        """`later`, as `attempt`."""
        ...

    def run(self, arrays: Sequence[Any]) -> list[Array]:
        """Outputs for dense arrays of the right types; parameters are updated. In memory of its own
        a backend takes `Borrowed` arrays, too.
        """
        ...

    def later(self, arrays: Sequence[Any]) -> list[Result]:
        """`run` that returns before it is done, where there is a device that goes on alone."""
        ...

    def source(self, level: str, kernel: int | None = None) -> str:
        """One of the texts named in ``TEXTS``: of everything, or of kernel number ``kernel``."""
        ...

    def profile(self, arrays: Sequence[Any], repeats: int) -> list[float]:
        """Median seconds of each kernel."""
        ...


def of_kernel(forms: Sequence[Form], kernel: int | None) -> Sequence[Form]:
    """What a runner holds for each kernel, ``forms``: all, or that of number ``kernel`` alone.
    Raises `UserError` GC0104 for a number that no kernel has.
    """
    if kernel is None:
        return forms
    if kernel not in range(len(forms)):
        raise UserError(
            "GC0104",
            f"there is no kernel {kernel!r}",
            why=f"the program has {len(forms)} kernels, counted from 0",
            fix="see them with source('kernels')",
        )
    return [forms[kernel]]


def load_backend(name: str) -> Any:
    """The module of a backend. Raises `UserError` GC0402 for an unknown name, GC0403 for one that
    is not installed.
    """
    if name not in BACKENDS:
        raise UserError(
            "GC0402", f"unknown backend {name!r}", fix=f"use one of {', '.join(BACKENDS)}"
        )
    try:
        return importlib.import_module(f"graphc.backends.{BACKENDS[name]}")
    except ModuleNotFoundError as error:
        raise UserError(
            "GC0403",
            f"the {name} backend is not available: {error}",
            fix="use backend='llvm' or 'numpy'",
        ) from error


def optional_passes(backend: str, passes: str | Sequence[str]) -> tuple[str, ...]:
    """The optional passes that somebody asks of a backend: one name, or several.

    Raises `UserError` GC0104 for a pass that the backend does not offer: to leave it out would be
    to measure something else than what was asked for. Also GC0402 and GC0403 (`load_backend`).
    """
    known: tuple[str, ...] = load_backend(backend).PASSES
    names = (passes,) if isinstance(passes, str) else tuple(passes)
    unknown = [name for name in names if name not in known]
    if unknown:
        choice = f"passes={' or '.join(map(repr, known))}" if known else "backend='llvm'"
        raise UserError(
            "GC0104",
            f"the {backend} backend has no optional pass {unknown[0]!r}",
            why="passes= names what is done beside the usual pipeline, which always runs",
            fix=f"use {choice}, or leave passes= out",
        )
    return tuple(dict.fromkeys(names))
