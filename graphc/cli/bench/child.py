"""A worker process as its parent sees it: started, asked, held still, ended.

Comes in: a number of threads, perhaps a folder for caches. Goes out: `Child`. A separate
step because nobody else may know about pipes and signals.

Threads are pinned twice: by the variables that libraries read when they are loaded, and by the set
of processors that the process may use, which also rules those that read no variable. A child stands
in a process group of its own, so Ctrl-C reaches only the parent, and its helpers stop with it.
Between turns it is stopped: threads that spin while they wait would take a core from another. A
process whose work is a GPU's, with `GPU` for its threads, has all cores.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from graphc.cli.bench.results import GPU

VARIABLES = (
    "GRAPHC_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
"""What libraries ask for a number of threads."""

MEMORY = {
    "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}  # fmt: skip
"""Memory that was freed stays with its process, for all systems alike. By default glibc gives large
arrays back to the system or not, depending on what was freed before; the page faults of the first
case made one and the same JAX program take 3.7 ms or 14.9 ms, by chance.
"""

SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Several processes have memory on a GPU at a time; JAX would take three quarters of it at once."""

CACHES = ("GRAPHC_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
"""What they ask for a folder of compiled code."""


def processors() -> list[int]:
    """The processors that this process may use; a mere count where nobody can choose them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class Child:
    """One worker process; ``with`` ends it. An answer may take ``limit`` seconds, 0 is for ever.
    Its caches are empty unless they lie in the ``folder`` of another.
    """

    def __init__(self, threads: int, folder: str = "", limit: float = 0.0) -> None:
        self.limit = limit
        self.own = None if folder else tempfile.TemporaryDirectory(prefix="graphc-bench-")
        self.folder = folder = self.own.name if self.own else folder
        environment = {
            **os.environ,
            **(dict.fromkeys(VARIABLES, str(threads)) if threads != GPU else {}),
            **dict.fromkeys(CACHES, folder),
            **MEMORY,
            **SHARED_GPU,
            "GRAPHC_CACHE": "1",
        }
        command = [sys.executable, "-P", "-m", "graphc.cli.bench.worker"]
        pipes: dict[str, Any] = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        handle, self.complaints = tempfile.mkstemp(dir=folder, suffix=".complaints")
        with os.fdopen(handle, "wb") as complaints, _confined(threads):
            self.process = subprocess.Popen(
                command, env=environment, stderr=complaints, text=True, process_group=0,
                **pipes,
            )  # fmt: skip

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to a request, for which the child runs; then it is held still."""
        self.send(do, **request)
        return self.receive()

    def send(self, do: str, **request: Any) -> None:
        """Begin with a request."""
        assert self.process.stdin is not None
        self._signal("SIGCONT")
        with contextlib.suppress(BrokenPipeError):  # `receive` will find out
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The answer to the request that was sent."""
        assert self.process.stdout is not None
        if self.limit and not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.end()
            return {"failed": f"no answer within {self.limit:g} s"}
        line = self.process.stdout.readline()
        if not line:
            return {"failed": self._last_words()}
        self._signal("SIGSTOP")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """Why the process is no more."""
        status = self.process.wait()
        said = Path(self.complaints).read_text("utf-8", "replace").strip().splitlines()
        return f"the process ended with status {status}: {said[-1] if said else 'in silence'}"

    def _signal(self, name: str) -> None:
        """Send a signal to the child and its helpers, where there are such signals."""
        number = getattr(signal, name, None)
        if number is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        if self.own is not None:
            self.own.cleanup()

    def end(self) -> None:
        """End it, and its helpers."""
        self._signal("SIGKILL")
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def _confined(count: int) -> Iterator[None]:
    """Processes that are started inside may use ``count`` processors, all for `GPU`."""
    if count == GPU or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
