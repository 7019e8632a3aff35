"""``graphc doctor``: what graphc finds on this machine, what it misses, and how to get that.

Comes in: nothing. Goes out: versions, processor, threads, cache, compilers, GPUs, drawing programs,
and for every backend whether it runs here, tried with a small program. Exit status 1 when numpy or
llvm does not.
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

PACKAGES = ("graphc", "numpy", "ml_dtypes", "llvmlite", "networkx", "graphviz", "rich")
EXTRAS = {"onnx": "onnx", "pillow": "data", "tensorboardX": "tensorboard"}
"""Packages that some things need, and the extras that install them."""
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
        **{name: _version(name) or "not installed" for name in PACKAGES},
        **{name: _version(name) or _how_to_get(extra) for name, extra in EXTRAS.items()},
        "cores": f"{os.cpu_count()}",
        **{fact: found for name in BACKENDS for fact, found in _said_by(name).items()},
        "graphviz program": find_engine() or "none (SVG, DOT and text need none)",
    }


def _version(package: str) -> str:
    """The version of a package, nothing if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _how_to_get(extra: str) -> str:
    return f'not installed; pip install "graphc[{extra}]"'


def _said_by(backend: str) -> dict[str, str]:
    """What a backend says about its compilers and devices, if it says anything."""
    try:
        about: Callable[[], dict[str, str]] | None = getattr(load_backend(backend), "about", None)
        return about() if about is not None else {}
    except (GraphcError, ImportError, OSError) as error:
        return {f"{backend}'s needs": f"unknown: {error}".splitlines()[0]}


def _tried(backend: str) -> str:
    """Whether a backend computes 2 * 3 + 1, and if not, why."""
    x = dsl.input("x", (4,))
    try:
        step = Executable(graph_of([x], [2 * x + 1], {}), backend)
        (result,) = step(np.full(4, 3, np.float32))
    except (GraphcError, ImportError, OSError, RuntimeError) as error:
        what = str(getattr(error, "what", error)).splitlines()[0]
        return what.removeprefix(f"the {backend} backend is ")
    return READY if np.array_equal(result, np.full(4, 7, np.float32)) else f"computes {result}"
