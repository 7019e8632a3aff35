"""Follows one matrix product from its graph to the instructions of a GPU, and puts every listing
into docs/cuda.md. No GPU is needed: kernels run on the simulator, NVRTC and nvdisasm only write
text.

usage: python docs/make_cuda.py              make the listings anew
       python docs/make_cuda.py run NUMBER   run the product without that barrier
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from make_readme import BLOCK, ROOT, busiest, fenced, graphc

from graphc.backends.cuda import TAKES, library_of
from graphc.backends.cuda.code import Form, forms
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.executable import Executable
from graphc.backends.cuda.nvidia import listing
from graphc.backends.cuda.prelude import part
from graphc.backends.cuda.sim.device import Simulator
from graphc.backends.cuda.sim.sanitize import watched
from graphc.cli.target import find_target
from graphc.graph import Graph
from graphc.ops.contraction import matmul
from graphc.ops.leaves import Input
from graphc.stages import Stages
from graphc.types import DTYPES, TensorType

PAGE, LESSON = Path(__file__).resolve().parent / "cuda.md", "examples/10_gpu.py"
ATTENTION = "examples/11_attention.py"
TARGET, BACKEND = f"{LESSON}:y", ("--backend", "cuda-sim")
BARRIER = "gc_sync();"
ORDERS = {"as counted": 0, "reversed": 1, "at random": 7}
"""Orders of threads by name, and their seeds."""


def product() -> tuple[Stages, Form]:
    """The stages of the lesson's product, and its one kernel."""
    stages = Stages(find_target(str(ROOT / LESSON) + ":y").graph, {}, TAKES)
    (form,) = forms(stages.program, Limits())
    return stages, form


def parts(text: str, barrier: str) -> list[str]:
    """A listing cut at its first and at its last barrier, which belong to the part before."""
    lines = text.splitlines()
    places = [n + 1 for n, line in enumerate(lines) if line.strip() == barrier]
    ends = [places[0], places[-1], len(lines)]
    return ["\n".join(lines[a:b]) for a, b in zip([0, *ends], ends, strict=False)]


# The way down -------------------------------------------------------------------------------------
def program() -> str:
    return fenced((ROOT / LESSON).read_text("utf-8"), "python")


def graph() -> str:
    return fenced(graphc("show", TARGET))


def kernels() -> str:
    return fenced(graphc("show", TARGET, *BACKEND, "--kernels"))


def loops(number: int) -> str:
    text = graphc("show", TARGET, *BACKEND, "--source", "loops")
    return fenced(parts(text, "barrier()")[number])


def launch() -> str:
    """What the device is asked for."""
    _, form = product()
    rows = ["| launch | grid | threads of a block | bytes of shared memory |", "|---|---|---|---|"]
    for phase in form.phases:
        grid = " x ".join(map(str, phase.grid))
        rows.append(f"| `{phase.unit.name}` | {grid} | {phase.threads} | {phase.shared_bytes} |")
    return "\n".join(rows) + "\n"


def cuda() -> str:
    """The innermost loop and what surrounds it."""
    _, form = product()
    lines = form.phases[0].unit.text.splitlines()
    at = next(n for n, line in enumerate(lines) if "gc_fma" in line)
    first = next(n for n in range(at, 0, -1) if "gc_fma" not in lines[n] and "[" in lines[n])
    chosen = lines[first - 6 : at + 4]
    indent = min(len(line) - len(line.lstrip()) for line in chosen)
    return fenced("\n".join(line[indent:] for line in chosen), "c++")


def whole() -> str:
    _, form = product()
    text = fenced(form.phases[0].unit.text, "c++")
    return f"<details><summary>the whole kernel</summary>\n\n{text}\n</details>\n"


def primitives() -> str:
    """A primitive with its two bodies."""
    names = ("gc_sync(", "gc_copy16(")
    device, host = (
        "\n".join(definition(part(file), name) for name in names)
        for file in ("prelude.h", "sim/host.h")
    )
    return fenced(f"// for a GPU\n{device}\n\n// for the simulator\n{host}", "c++")


def definition(text: str, name: str) -> str:
    """The lines of a function."""
    lines = text.splitlines()
    first = next(n for n, x in enumerate(lines) if x.startswith("DEVICE") and name in x)
    last = first
    while not lines[last].endswith("}"):
        last += 1
    return "\n".join(lines[first : last + 1])


# Machine code -------------------------------------------------------------------------------------
def ptx() -> str:
    """Some lines from the middle of the inner loop."""
    text = graphc("show", TARGET, *BACKEND, "--source", "ptx")
    return fenced(middle(busiest(text, "fma.rn.f32"), "fma.rn.f32").replace("\t", "    "), "text")


def sass() -> str:
    text = graphc("show", TARGET, *BACKEND, "--source", "sass")
    code = re.sub(r"^\s*/\*(\w+)\*/\s+", r"\1  ", text, flags=re.MULTILINE)
    return fenced(middle(code, "FFMA"), "text")


def middle(code: str, instruction: str, count: int = 14) -> str:
    """A stretch of code where loads and an instruction meet."""
    lines = [line for line in code.splitlines() if line.strip()]
    starts = range(max(1, len(lines) - count))

    def worth(start: int) -> int:
        found = lines[start : start + count]
        kinds = sum(instruction in x for x in found), sum("LDS" in x or "ld." in x for x in found)
        return min(kinds[0], 2 * kinds[1])

    best = max(starts, key=worth)
    return "\n".join(lines[best : best + count])


def usage() -> str:
    return fenced(graphc("show", TARGET, *BACKEND, "--source", "usage"))


COUNTED = {
    "FFMA": "a multiply-add of float32", "HMMA": "a product of small matrices by a warp",
    "HGMMA": "the same by four warps", "LDG.E.128": "16 bytes from global memory",
    "LDGSTS": "a copy from global to shared memory", "UTMALDG": "a box copied by the TMA",
    "LDS.128": "16 bytes from shared memory", "LDSM": "small matrices from shared memory",
    "BAR.SYNC": "a barrier",
}  # fmt: skip
"""Instructions of sm_90 that say how a kernel works (CUDA binary utilities, instruction set)."""


def counts() -> str:
    """Which instructions the same product has in other types and sizes."""
    cases = (
        ("float32", 64, 128), ("float32", 2048, 2048), ("bfloat16", 512, 512),
        ("bfloat16", 4096, 4096),
    )  # fmt: skip
    texts = {f"{kind}, {m} x {k} x {m}": machine(kind, m, k) for kind, m, k in cases}
    rows = [
        f"| instruction | what it does | {' | '.join(texts)} |",
        "|---" * (2 + len(texts)) + "|",
    ]
    for name, what in COUNTED.items():
        found = (len(re.findall(rf"\b{re.escape(name)}", text)) for text in texts.values())
        rows.append(f"| `{name}` | {what} | {' | '.join(str(n or '') for n in found)} |")
    return "\n".join(rows) + "\n"


def machine(kind: str, m: int, k: int) -> str:
    """The machine code of a product of m x k by k x m numbers."""
    a, b = (Input(n, TensorType(DTYPES[kind], s))() for n, s in (("a", (m, k)), ("b", (k, m))))
    stages = Stages(Graph((a, b), (matmul(a, b),)), {}, TAKES)
    units = [p.unit for form in forms(stages.program, Limits()) for p in form.phases]
    return "\n".join(listing.text(unit, "sass", Limits().target) for unit in units)


# Attention ----------------------------------------------------------------------------------------
def attention() -> str:
    """What the lesson about it prints."""
    command = [sys.executable, str(ROOT / ATTENTION)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return fenced(said.rstrip())


# Without a barrier --------------------------------------------------------------------------------
class Forgetful(Simulator):
    """A simulator that leaves out one barrier of every kernel: number ``left``, from 0."""

    def __init__(self, seed: int, left: int | None) -> None:
        super().__init__(seed=seed)
        self.left = left

    def load(self, units: list[Unit]) -> list[object]:
        """The functions of the changed kernels."""
        return super().load([replace(u, text=self.changed(u.text)) for u in units])

    def changed(self, text: str) -> str:
        """The text without the barrier."""
        pieces = text.split(BARRIER)
        if self.left is None:
            return text
        head, tail = pieces[: self.left + 1], pieces[self.left + 1 :]
        return BARRIER.join(head) + "/* no barrier */" + BARRIER.join(tail)


def differences(left: int | None, seed: int) -> float:
    """How far the product is from NumPy's."""
    stages, form = product()
    device = Forgetful(seed, left)
    run = Executable(stages.program, device, library_of(stages.source, device), [form]).run
    x = np.random.default_rng(0).normal(size=(64, 128)).astype(np.float32)
    w, b = (n.op.storage.array for n, _ in stages.program.leaves)
    (found,) = run([x])
    return float(np.abs(found - np.maximum(x @ w + b, 0)).max())


def forgotten() -> str:
    """What comes out in each order of threads, with all barriers and without the last."""
    _, form = product()
    last = form.phases[0].unit.text.count(BARRIER) - 1
    rows = ["| order of threads | with all barriers | without the last |", "|---|---|---|"]
    for name, seed in ORDERS.items():
        rows.append(f"| {name} | {differences(None, seed):.1g} | {differences(last, seed):.2g} |")
    return "\n".join(rows) + "\n"


def race() -> str:
    """What ThreadSanitizer says of the kernel without its last barrier."""
    found = watched("race", [sys.executable, str(Path(__file__).resolve()), "run", "-1"]).findings
    texts = [str(finding) for finding in found[:2]]
    return fenced("\n\n".join(texts) or "nothing")


BLOCKS: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        program, graph, kernels, launch, cuda, whole, primitives, ptx, sass, usage, counts,
        attention, forgotten, race,
    )
} | {name: lambda n=n: loops(n) for n, name in enumerate(("fill", "step", "results"))}  # fmt: skip
COMPILED = {"ptx", "sass", "usage", "counts", "race"}
"""Blocks that NVIDIA's or the host's compiler has a share in: versions differ."""


def outdated(text: str, skipped: set[str] = COMPILED) -> list[str]:
    """The names of the blocks that are not as they would be made now."""
    found = {m[2]: m[3] for m in BLOCK.finditer(text)}
    return [n for n, make in BLOCKS.items() if n not in skipped if found.get(n) != make()]


def main() -> None:
    """Write the page anew."""
    text = PAGE.read_text("utf-8")
    PAGE.write_text(BLOCK.sub(lambda m: m[1] + BLOCKS[m[2]]() + m[4], text), "utf-8")


if __name__ == "__main__":
    os.chdir(ROOT)
    if sys.argv[1:2] == ["run"]:
        _, kernel = product()
        number = int(sys.argv[2]) % kernel.phases[0].unit.text.count(BARRIER)
        print(f"largest difference from NumPy's: {differences(number, 1):.2g}")
    else:
        main()
