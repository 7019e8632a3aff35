"""``graphc doctor``: what graphc finds on this machine, and what it misses.

Comes in: nothing. Goes out: versions, processor, threads, cache, drawing programs, and for every
backend whether it runs here, tried with a small program. Exit status 1 when numpy or llvm does not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from graphc.cli.screen import Screen
from graphc.compile import Executable
from graphc.errors import GraphcError
from graphc.frontends import dsl
from graphc.frontends.dsl.function import graph_of
from graphc.runner import BACKENDS, load_backend
from graphc.show.engine import find_engine

PACKAGES = ("graphc", "numpy", "ml_dtypes", "llvmlite", "networkx", "graphviz", "rich", "onnx")
NEEDED = ("numpy", "llvm")
"""The backends that must run on every machine."""

READY = "ready"


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="what graphc finds on this machine")
    parser.add_argument("--json", action="store_true", help="for programs to read")
    parser.set_defaults(command=doctor)


def doctor(options: argparse.Namespace, screen: Screen) -> int:
    """Print what was found."""
    backends = {name: _tried(name) for name in BACKENDS}
    facts = {**environment(), **{f"backend {name}": said for name, said in backends.items()}}
    if options.json:
        screen.say(json.dumps(facts, indent=2))
    else:
        screen.table(("what", "found"), list(facts.items()))
    return 0 if all(backends[name] == READY for name in NEEDED) else 1


def environment() -> dict[str, str]:
    """Facts about the machine and the installation, by name."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "cores": f"{os.cpu_count()}",
        **_native(),
        "graphviz program": find_engine() or "none (SVG, DOT and text need none)",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _native() -> dict[str, str]:
    """What the native backend says about itself."""
    try:
        about: Callable[[], dict[str, str]] = load_backend("llvm").about
        return about()
    except (GraphcError, ImportError, OSError) as error:
        return {"processor": f"unknown: {error}"}


def _tried(backend: str) -> str:
    """Whether a backend computes 2 * 3 + 1, and if not, why."""
    x = dsl.input("x", (4,))
    try:
        step = Executable(graph_of([x], [2 * x + 1], {}), backend)
        (result,) = step(np.full(4, 3, np.float32))
    except (GraphcError, ImportError, OSError, RuntimeError) as error:
        return str(getattr(error, "what", error)).splitlines()[0]
    return READY if np.array_equal(result, np.full(4, 7, np.float32)) else f"computes {result}"
