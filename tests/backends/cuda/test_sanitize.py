"""Kernels that are watched over: what races, or leaves its memory, is named with its line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphc.backends.cuda.sim.device import Simulator
from graphc.backends.cuda.sim.sanitize import Outcome, findings, library, watched
from graphc.errors import UserError

LAST_BLOCK = """KERNEL(last_block, 64, 1)(const float* __restrict__ x, float* parts, float* y) {
  const i32 t = gc_thread();
  if (t == 0) parts[gc_block_x()] = x[gc_block_x() * 64];
  if (t == 0 && gc_block_x() == 4) {
    float total = 0;
    for (i32 n = 0; n < 5; ++n) total += parts[n];
    y[0] = total;
  }
}
EXPORT(last_block)
"""
PROGRAM = """
import numpy as np
from cuda_units import SOFTMAX, Unit
from graphc.backends.cuda.device import Launch
from graphc.backends.cuda.sim.device import Simulator

def softmax(name, *change):
    text = SOFTMAX.text.replace("softmax", name)
    assert not change or change[0] in text
    launch(Unit(name, text.replace(*change) if change else text), 2)

def launch(unit, *extra):
    device = Simulator()
    (function,) = device.load([unit])
    memory = [device.allocate(size) for size in (4 * 64 * 5, 4 * 64 * 5, 4, 4)]
    for place in memory:
        device.write(place.address, np.zeros(1, np.float32))
    addresses = tuple(place.address for place in memory)
    device.run([Launch(function, (5, 1, 1), 64, 8, addresses)])
"""
RIGHT = "softmax('right')"
RACES = f"""
softmax('no_barrier', '  gc_sync();', '')
softmax('two_blocks', 'y[gc_block_x() * 64', 'y[gc_block_x() * 32')
launch(Unit('last_block', {LAST_BLOCK!r}))
"""
OUTSIDE = "softmax('outside', 'y[gc_block_x() * 64', 'y[gc_block_x() * 65')"


def watch(kind: str, lines: str) -> Outcome:
    """Run these lines; skips where the compiler has no such sanitizer."""
    try:
        library(kind)
    except UserError as error:
        pytest.skip(error.what)
    paths = f"import sys; sys.path[:0] = {sys.path!r}\n"
    outcome = watched(kind, [sys.executable, "-c", paths + PROGRAM + lines])
    assert "Traceback" not in outcome.output
    return outcome


def test_races_are_named():
    found = {f.kernel: f for f in watch("race", RIGHT + RACES).findings}
    assert set(found) == {"no_barrier", "two_blocks", "last_block"}
    assert "line 8: if (gc_lane() == 0) sums[t / 32] = sum;" in str(found["no_barrier"])
    assert "total += parts[n]" in str(found["last_block"])


@pytest.mark.slow
def test_what_is_outside_of_memory_is_named():
    assert not watch("address", RIGHT).findings
    outcome = watch("address", OUTSIDE)
    (found,) = outcome.findings
    assert outcome.status
    assert found.what == "heap-buffer-overflow"
    assert "writes 4 bytes in line 10: y[gc_block_x() * 65 + t]" in str(found)


def test_a_process_that_is_not_watched_says_so():
    with pytest.raises(UserError, match="GC0403"):
        Simulator(sanitize="race")
    with pytest.raises(UserError, match="GC0104"):
        Simulator(sanitize="taste")


def test_reports_without_kernels_say_nothing(tmp_path: Path):
    report = "WARNING: ThreadSanitizer: data race (pid=1)\n  Write of size 4 at 0x7b by thread T1\n"
    assert not list(findings(report, tmp_path))
