"""Native programs in company: threads, forks, other processors, processes that die."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from execute import interpreted
from graphc.backends import llvm
from graphc.backends.llvm import jit
from graphc.backends.llvm.emit import emit
from graphc.backends.llvm.machine import host, named
from graphc.backends.llvm.schedule import schedule
from graphc.compile import Executable, build
from graphc.graph import Graph
from graphc.kernels.lower import lower
from graphc.ops.reduction import sum_over
from kernels.models import GRAPHS, draw, everything, leaf, small, softmax

SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from kernels.models import draw, everything
from execute import interpreted
from graphc.compile import build
from graphc.backends.llvm.threads import pool
graph = everything()
runner = build(graph, "llvm", {}).runner
arrays = draw(graph)
found = runner.run(arrays)
for _ in range(5):
    for a, b in zip(found, runner.run(arrays)):
        assert a.tobytes() == b.tobytes(), "two calls differ"
for ours, wanted in zip(found, interpreted(graph, arrays)):
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(ours / scale, wanted / scale, rtol=1e-4, atol=1e-5)
print(hashlib.sha256(b"".join(a.tobytes() for a in found)).hexdigest())
"""


def run_script(repository: Path, text: str = SCRIPT, **environment: str) -> str:
    command = [sys.executable, "-c", text, str(repository / "tests")]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_any_number_of_threads_gives_the_same_bits(repository: Path):
    found = {run_script(repository, GRAPHC_THREADS=count) for count in ("1", "2", "13")}
    assert len(found) == 1


@pytest.mark.parametrize("cpu", ["x86-64", "haswell"])
def test_code_for_lesser_processors_runs(repository: Path, cpu: str):
    needed = named(cpu).features.split(",")
    if host().architecture != "x86_64" or not all(host().has(f[1:]) for f in needed):
        pytest.skip("this processor is another one")
    assert len(run_script(repository, GRAPHC_CPU=cpu)) == 64  # a digest: all went well


@pytest.mark.parametrize("cpu", ["x86-64", "haswell", "skylake-avx512", "znver3"])
def test_code_for_other_processors_compiles(cpu: str):
    if host().architecture != "x86_64":
        pytest.skip("LLVM is built for the host only")
    machine = named(cpu)
    for make in (everything, *GRAPHS.values()):
        for number, kernel in enumerate(lower(make()).kernels):
            text = emit(f"k{number}", schedule(kernel, machine), machine)
            assert len(jit.object_code(text, machine=machine)) > 100


def check_in_threads(*functions: Callable[[], None]) -> None:
    """Run all at once; the first exception is raised here."""
    faults: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as fault:  # raised below, in the thread of the test
            faults.append(fault)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def repeated(runner: Executable, scale: float, times: int = 15) -> Callable[[], None]:
    """Calls of a runner with arrays of its own, each compared with the first."""
    graph = runner.graph
    arrays = [a * np.float32(scale) for a in draw(graph)]
    wanted = interpreted(graph, arrays)

    def work() -> None:
        first = runner(*arrays)
        for ours, theirs in zip(first, wanted, strict=True):
            size = max(1.0, float(np.abs(theirs).max()))
            np.testing.assert_allclose(ours / size, theirs / size, rtol=1e-4, atol=1e-5)
        for _ in range(times):
            for a, b in zip(runner(*arrays), first, strict=True):
                assert a.tobytes() == b.tobytes()

    return work


def test_two_executables_in_two_threads():
    first, second = Executable(everything()), Executable(everything())
    check_in_threads(repeated(first, 1.0), repeated(second, 0.5))


def test_one_executable_in_three_threads():
    shared = Executable(everything())
    check_in_threads(*(repeated(shared, scale) for scale in (1.0, 0.5, 0.25)))


def test_compiling_in_several_threads():
    def compiled(k: int) -> Callable[[], None]:
        return repeated(Executable(Graph(*attended(k))), 1.0, 2)

    def attended(k: int) -> tuple[tuple, tuple]:
        x = leaf("x", 9 + k % 2, 17)
        return (x,), (softmax(x) * float(k // 2), sum_over(x, (0,)))

    check_in_threads(*(lambda k=k: compiled(k)() for k in range(6)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parent_and_child_run_after_a_fork():
    graph = everything()
    runner = llvm.build(lower(graph))
    arrays = draw(graph)
    wanted = [y.tobytes() for y in runner.run(arrays)]
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a deadlock ends the child, not the test run
        refused = runner.attempt(*arrays) is None  # the child's workers do not run yet
        same = [y.tobytes() for y in runner.run(arrays)] == wanted
        same &= refused and [y.tobytes() for y in runner.attempt(*arrays)] == wanted
        other = llvm.build(lower(GRAPHS["softmax"]()))
        os._exit(7 if same and other.run(draw(GRAPHS["softmax"]())) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert [y.tobytes() for y in runner.run(arrays)] == wanted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_runs_what_another_thread_was_inside_of_when_it_was_forked():
    graph = everything()
    runner = llvm.build(lower(graph))
    arrays = draw(graph)
    wanted = [y.tobytes() for y in runner.run(arrays)]
    inside, leave = threading.Event(), threading.Event()

    def call() -> None:
        with runner.lock:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=call)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a deadlock ends the child, not the test run
        same = all([y.tobytes() for y in runner.run(arrays)] == wanted for _ in range(2))
        os._exit(7 if same else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    held = runner.lock.locked()
    leave.set()
    thread.join()
    assert status == 7
    assert held, "the parent's lock is its own"
    assert [y.tobytes() for y in runner.run(arrays)] == wanted


def test_being_ready_for_a_fork_keeps_no_executable_alive():
    runner = llvm.build(lower(GRAPHS["softmax"]()))
    gone = weakref.ref(runner)
    del runner
    gc.collect()
    assert gone() is None


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[1])
from kernels.models import small
from graphc.compile import build
print("ready", flush=True)
for k in range(10**6):
    build(small(k), "llvm", {})
"""


def test_a_process_killed_while_it_fills_the_cache(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(repository / "tests")], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        before = len(list(tmp_path.glob("*.object")))
        while len(list(tmp_path.glob("*.object"))) < before + 3:  # it is in the middle of its work
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    entries = len(list(tmp_path.glob("*.object")))
    assert entries
    script = f"{ENDLESS.partition('print')[0]}\nfor k in range(3): build(small(k), 'llvm', {{}})"
    run_script(repository, script)
    for k in range(3):
        graph = small(k)
        found = build(graph, "llvm", {}).runner.run(draw(graph))
        for ours, wanted in zip(found, interpreted(graph, draw(graph)), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)
    assert len(list(tmp_path.glob("*.object"))) >= entries
