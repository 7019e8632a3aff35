"""Kernels and loops as text: golden for small models, and the same whatever things are called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.graph import Graph, Node
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.loops.nest import nest
from graphc.loops.text import Names, loops_text
from graphc.ops.leaves import Input
from graphc.show.program import buffer_names, program_text
from kernels import models

HEADS = {"kernels": "The kernels", "loops": "Their loops, in the order in which they stand"}


def loops(program: Program) -> str:
    """The loops of every kernel, in the user's names."""
    given = buffer_names(program)
    return "\n\n".join(loops_text(nest(k), Names(given)) for k in program.kernels)


def text(name: str) -> str:
    program = lower(models.GRAPHS[name]())
    parts = (f"# {HEADS['kernels']}", program_text(program), f"# {HEADS['loops']}", loops(program))
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("name", models.GRAPHS)
def test_golden(name: str, check_golden):
    check_golden(f"kernels/{name}.txt", text(name))


def anonymous(graph: Graph) -> str:
    """The loops with every buffer numbered: what compiled code is kept under."""
    return "\n\n".join(loops_text(nest(k)) for k in lower(graph).kernels)


def test_names_are_numbers_by_position():
    """Another name of an input, another place in the file: the same loops."""

    def renamed(name: str) -> Graph:
        x = Input(name, models.leaf("x", 6, 33).type)()
        return Graph((x,), (models.softmax(x),))

    assert anonymous(renamed("x")) == anonymous(renamed("scores")) == anonymous(renamed("b0"))
    assert "scores" not in anonymous(renamed("scores"))


def test_what_is_built_in_between_does_not_matter():
    first = anonymous(models.mlp_graph())
    kept: list[Node] = [models.leaf(f"z{k}", 3) * 2 for k in range(100)]
    assert kept
    assert anonymous(models.mlp_graph()) == first


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from loops.test_text import text
from kernels.models import GRAPHS
print("".join(text(name) for name in GRAPHS))
"""


def test_every_process_writes_the_same(repository: Path):
    """The order of sets and the addresses of objects must not show."""
    printed = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", SCRIPT, str(repository / "tests")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    assert printed == {"".join(text(name) for name in models.GRAPHS) + "\n"}
