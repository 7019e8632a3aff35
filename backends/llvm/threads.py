"""The worker pool: a loop of a kernel, shared by all cores.

Comes in: the address of a kernel ``void kernel(ptr context, i64 low, i64 high)``, a count and a
chunk. Goes out: every index done, once, when `graphc_parallel_for` returns. A separate step because
it is the only code here with threads.

A job is one 64-bit word, ``generation << 32 | first chunk left << 16 | chunks left``. A thread
claims a chunk by compare-and-swap on that word, the caller the first, workers the last: so a core
meets the same part of every loop, and what it wrote is in its own cache. Writing lines that another
core holds takes three times as long as writing to memory. The caller works too, so nobody waits for
a thread that has claimed nothing: a worker that sleeps, is descheduled, or was lost in a fork costs
nothing. The fields of a job are stable from a successful claim until ``done`` counts it. A second
caller, or a nested call, finds the pool busy and runs its loop alone.

Idle workers spin a little, then sleep on a condition variable; the word and the number of sleepers
are written and read in one total order (Dekker), so no wake-up is lost. While they spin they offer
their core to other processes, and a caller that a busy machine kept waiting for a claimed chunk
works alone for a while (`POLITE`, `RETREAT`).

Workers are Python threads that sit inside one compiled function with the interpreter's lock
released. They take no signals, and code is never unloaded under them. After a fork the child begins
with no workers and starts its own.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import logging
import os
import signal
import threading
import time

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.machine import host
from graphc.errors import UserError

log = logging.getLogger("graphc.threads")

SPIN = 100_000
"""Pauses before a worker goes to sleep: about 2 ms, longer than Python takes between two steps of a
training loop. A sleeper costs more than it saves: on a 2-core guest matmul of 256 ran at 112
GFLOP/s when workers slept after 2,000 pauses, and at 199 with this.
"""

POLITE = 64
"""Pauses after which a worker that spins offers its core to others: it then begins its next chunk
with a whole time slice before it, and is less often stopped in the middle of one.
"""

PATIENCE = 2000
"""Pauses before a caller that waits for the last chunks yields its core."""

TOLERANCE = 100_000
RETREAT = 8
"""A caller has been kept waiting when it waited longer than it worked, by this many nanoseconds:
chunks are about equal, so a worker that has one has lost its core to another process, for a time
slice of some milliseconds. Loops then run alone, for this many times the wait.
"""

MOST = (1 << 16) - 1
"""Chunks of a loop at most: a number that fits beside the others in a job's word."""

# Offsets of the fields. What different threads write often stands on its own cache line; the mutex
# and the condition variable have 128 bytes each, which is enough for every C library.
FIELDS = {
    "word": 0, "done": 64, "function": 128, "context": 136, "count": 144, "chunk": 152, "busy": 192,
    "alone_until": 200,
    "sleepers": 256, "stop": 260, "ready": 264, "mutex": 320, "condition": 448,
}  # fmt: skip
SIZE = 576

_CLAIM = """
claim:
  %seen = load atomic i64, ptr %word acquire, align 8
  %left = and i64 %seen, LEFT
  %none = icmp eq i64 %left, 0
  br i1 %none, label %finished, label %try
try:
  %shifted = lshr i64 %seen, 16
  %first = and i64 %shifted, LEFT
  TAKE
  %swap = cmpxchg ptr %word, i64 %seen, i64 %fewer acq_rel acquire
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %work, label %claim
work:
  %f = load ptr, ptr %function
  %c = load ptr, ptr %context
  %n = load i64, ptr %count
  %size = load i64, ptr %chunk
  %low = mul i64 %position, %size
  %end = add i64 %low, %size
  %high = call i64 @llvm.smin.i64(i64 %end, i64 %n)
  call void %f(ptr %c, i64 %low, i64 %high)
  %counted = atomicrmw add ptr %done, i32 1 release
  br label %claim
"""
"""Take chunks until none is left; continues at %finished."""

_TAKE_LAST = """%fewer = sub i64 %seen, 1
  %beyond = add i64 %first, %left
  %position = sub i64 %beyond, 1"""
_TAKE_FIRST = """%fewer = add i64 %seen, LEFT
  %position = add i64 %first, 0"""

_WORKER = """
define void @graphc_worker(ptr %state) nounwind {
entry:
FIELDS
  br label %claim
CLAIM
finished:
  br label %idle
idle:
  %round = phi i32 [ 0, %finished ], [ %next, %spun ]
  %told = load atomic i32, ptr %stop monotonic, align 4
  %quit = icmp ne i32 %told, 0
  br i1 %quit, label %exit, label %look
look:
  %now = load atomic i64, ptr %word monotonic, align 8
  %open = and i64 %now, LEFT
  %some = icmp ne i64 %open, 0
  br i1 %some, label %claim, label %spin
spin:
  PAUSE
  %next = add i32 %round, 1
  %turn = urem i32 %next, POLITE
  %others_turn = icmp eq i32 %turn, 0
  br i1 %others_turn, label %give_way, label %spun
give_way:
  call i32 @sched_yield()
  br label %spun
spun:
  %patient = icmp slt i32 %next, SPIN
  br i1 %patient, label %idle, label %sleep
sleep:
  call i32 @pthread_mutex_lock(ptr %mutex)
  atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %check
check:
  %later = load atomic i64, ptr %word seq_cst, align 8
  %remaining = and i64 %later, LEFT
  %asked = load atomic i32, ptr %stop seq_cst, align 4
  %wanted = zext i32 %asked to i64
  %reason = or i64 %remaining, %wanted
  %nap = icmp eq i64 %reason, 0
  br i1 %nap, label %wait, label %woken
wait:
  call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
woken:
  atomicrmw sub ptr %sleepers, i32 1 seq_cst
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %claim
exit:
  ret void
}
"""

_PARALLEL_FOR = """
define void @graphc_parallel_for(ptr %state, ptr %job, ptr %data, i64 %total, i64 %grain) nounwind {
entry:
FIELDS
  %least = sdiv i64 %total, LEFT
  %enough = add i64 %least, 1
  %each = call i64 @llvm.smax.i64(i64 %grain, i64 %enough)
  %above = add i64 %total, %each
  %last = sub i64 %above, 1
  %chunks = sdiv i64 %last, %each
  %single = icmp sle i64 %chunks, 1
  br i1 %single, label %alone, label %several
several:
  %began = call i64 @graphc_now()
  %retreat = load atomic i64, ptr %alone_until monotonic, align 8
  %again = icmp sge i64 %began, %retreat
  br i1 %again, label %lock, label %alone
lock:
  %taken = cmpxchg ptr %busy, i32 0, i32 1 acquire monotonic
  %ours = extractvalue { i32, i1 } %taken, 1
  br i1 %ours, label %publish, label %alone
alone:
  call void %job(ptr %data, i64 0, i64 %total)
  ret void
publish:
  store ptr %job, ptr %function
  store ptr %data, ptr %context
  store i64 %total, ptr %count
  store i64 %each, ptr %chunk
  store atomic i32 0, ptr %done monotonic, align 4
  %before = load atomic i64, ptr %word monotonic, align 8
  %closed = and i64 %before, -4294967296
  %generation = add i64 %closed, 4294967296
  %opened = add i64 %generation, %chunks
  store atomic i64 %opened, ptr %word seq_cst, align 8
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %awake = icmp eq i32 %asleep, 0
  br i1 %awake, label %claim, label %wake
wake:
  call i32 @pthread_mutex_lock(ptr %mutex)
  call i32 @pthread_cond_broadcast(ptr %condition)
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %claim
CLAIM
finished:
  %expected = trunc i64 %chunks to i32
  br label %join
join:
  %round = phi i32 [ 0, %finished ], [ %next, %pause ]
  %so_far = load atomic i32, ptr %done acquire, align 4
  %all = icmp eq i32 %so_far, %expected
  br i1 %all, label %leave, label %pause
pause:
  PAUSE
  %next = add i32 %round, 1
  %patient = icmp ult i32 %next, PATIENCE
  br i1 %patient, label %join, label %late
late:
  %idle_since = call i64 @graphc_now()
  br label %yield
yield:
  call i32 @sched_yield()
  %by_now = load atomic i32, ptr %done acquire, align 4
  %complete = icmp eq i32 %by_now, %expected
  br i1 %complete, label %judge, label %yield
judge:
  %ended = call i64 @graphc_now()
  %waited = sub i64 %ended, %idle_since
  %worked = sub i64 %idle_since, %began
  %excess = sub i64 %waited, %worked
  %held = icmp sgt i64 %excess, TOLERANCE
  br i1 %held, label %back_off, label %leave
back_off:
  %long = mul i64 %waited, RETREAT
  %until = add i64 %ended, %long
  store atomic i64 %until, ptr %alone_until monotonic, align 8
  br label %leave
leave:
  store atomic i32 0, ptr %busy release, align 4
  ret void
}
"""

_DECLARATIONS = """
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @sched_yield()
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare i32 @clock_gettime(i32, ptr)

define internal i64 @graphc_now() nounwind {
  %time = alloca [2 x i64]
  call i32 @clock_gettime(i32 CLOCK, ptr %time)
  %seconds = load i64, ptr %time
  %rest = getelementptr i64, ptr %time, i64 1
  %nanoseconds = load i64, ptr %rest
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %nanoseconds
  ret i64 %now
}
"""


def source() -> str:
    """The IR of the worker and of the parallel loop."""
    fields = "\n".join(
        f"  %{name} = getelementptr i8, ptr %state, i64 {offset}" for name, offset in FIELDS.items()
    )
    worker = _WORKER.replace("CLAIM", _CLAIM.replace("TAKE", _TAKE_LAST))
    caller = _PARALLEL_FOR.replace("CLAIM", _CLAIM.replace("TAKE", _TAKE_FIRST))
    text = _DECLARATIONS + worker + caller
    numbers = {
        "SPIN": SPIN, "POLITE": POLITE, "PATIENCE": PATIENCE, "TOLERANCE": TOLERANCE,
        "RETREAT": RETREAT, "CLOCK": time.CLOCK_MONOTONIC, "LEFT": MOST,
    }  # fmt: skip
    for name, part in {"FIELDS": fields, "PAUSE": host().pause, **numbers}.items():
        text = text.replace(name, str(part))
    return text


@functools.cache
def _code() -> dict[str, int]:
    exports = ["graphc_worker", "graphc_parallel_for"]
    return jit.link([cache.object_code(source(), "none")], exports)


class Pool:
    """Threads that share loops; the thread that calls is one of them.

    ``state`` and ``parallel_for`` are the addresses that generated code needs for
    ``graphc_parallel_for(ptr state, ptr kernel, ptr context, i64 count, i64 chunk)``. Call `ready`
    before such code runs: it starts the workers, once. Without workers everything works, on one
    core.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._memory = ctypes.create_string_buffer(SIZE + 64)
        self.state = (ctypes.addressof(self._memory) + 63) & ~63
        code, pointer, number = _code(), ctypes.c_void_p, ctypes.c_int64
        self.parallel_for = code["graphc_parallel_for"]
        self._call = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, number, number)(
            self.parallel_for
        )
        self._work = ctypes.CFUNCTYPE(None, pointer)(code["graphc_worker"])
        self._process = ctypes.CDLL(None)
        self._begin()
        atexit.register(self.stop)
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """At birth, and in the child of a fork: nobody works, nothing is locked."""
        ctypes.memset(self.state, 0, SIZE)
        self._workers: list[threading.Thread] | None = None
        self._starting = threading.Lock()
        self._process.pthread_mutex_init(self._field("mutex"), None)
        self._process.pthread_cond_init(self._field("condition"), None)

    def _field(self, name: str) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.state + FIELDS[name])

    def _body(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # signals are the main thread's
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._work(self.state)

    def ready(self) -> None:
        """Start the workers unless they run; cheap afterwards."""
        if self._workers is not None:
            return
        with self._starting:
            if self._workers is None:
                self._workers = self._start()
                ctypes.c_int32.from_address(self.state + FIELDS["ready"]).value = 1

    def _start(self) -> list[threading.Thread]:
        started: list[threading.Thread] = []
        for number in range(1, self.threads):
            thread = threading.Thread(target=self._body, name=f"graphc-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more, or the interpreter is ending
                log.warning("%d of %d threads: %s", len(started) + 1, self.threads, error)
                break
            started.append(thread)
        return started

    def run(self, kernel: int, context: int, count: int, chunk: int) -> None:
        """Call the kernel at an address for all indices below `count`, `chunk` at a time."""
        self.ready()
        self._call(self.state, kernel, context, count, chunk)

    def stop(self) -> None:
        """End the workers. Loops still run afterwards, on the thread that calls."""
        workers, self._workers = self._workers or [], []
        ctypes.c_int32.from_address(self.state + FIELDS["stop"]).value = 1
        self._process.pthread_mutex_lock(self._field("mutex"))
        self._process.pthread_cond_broadcast(self._field("condition"))
        self._process.pthread_mutex_unlock(self._field("mutex"))
        for worker in workers:
            worker.join()


def thread_count() -> int:
    """GRAPHC_THREADS, else the cores this process may use; `UserError` GC0104 below one."""
    asked = os.environ.get("GRAPHC_THREADS", "")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise UserError("GC0104", f"GRAPHC_THREADS={asked!r}", fix="set it to 1 or more")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def pool() -> Pool:
    """The pool of this process."""
    return Pool(thread_count())
