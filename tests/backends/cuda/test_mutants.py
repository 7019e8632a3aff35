"""Every barrier, fence and wait of generated kernels is missed: without it results differ, or the
simulator reports a rule that is broken, or ThreadSanitizer a race.
"""

from __future__ import annotations

import pytest

from graphc.errors import UserError
from mutated import PROGRAMS
from mutation import Mutant, racing, survivors_apart

pytestmark = pytest.mark.sweep

Chosen = tuple[str, Mutant]

UNSEEN = {("product by warpgroups", "gc_barrier_fence()")}
"""What only a GPU misses: in the simulator all accesses to memory are of one kind."""
RACES = {
    ("product by one warp", "gc_sync()"),
    ("attention by matrix instructions", "gc_sync_warp()"),
    ("attention in two walks", "gc_sync_warp()"),
}
"""What only ThreadSanitizer misses: the lanes of a warp meet in what comes next anyhow, but that
does not make visible what others copied or stored.
"""


@pytest.fixture(scope="module")
def alive() -> list[Chosen]:
    """The mutants that give the right results in every order of threads. A wait of a helper has to
    be missed by one program only: not all of them call it twice.
    """
    found: list[Chosen] = []
    missed: set[str] = set()
    for name, (mutants, left) in survivors_apart(PROGRAMS, "mutated").items():
        assert mutants, name
        missed |= {str(m) for m in mutants if m.helper and m not in left}
        found += [(name, mutant) for mutant in left]
    return [(name, mutant) for name, mutant in found if str(mutant) not in missed]


def told(found: list[Chosen]) -> str:
    return "\n".join(f"{name}: nobody misses {mutant}" for name, mutant in found)


def test_results_or_reports_miss_every_wait(alive: list[Chosen]):
    found = [(name, m) for name, m in alive if (name, m.wait) not in UNSEEN | RACES]
    assert not found, told(found)


def test_races_are_reported_for_the_rest(alive: list[Chosen]):
    rest = [(name, m) for name, m in alive if (name, m.wait) in RACES]
    assert {(name, m.wait) for name, m in rest} == RACES
    try:
        raced = racing(rest, "mutated")
    except UserError as error:
        pytest.skip(f"there is no ThreadSanitizer: {error.what}")
    assert raced == rest
