"""Puts the real output of every stage into README.md, and draws its picture.

usage: python docs/make_readme.py [--check]

README.md holds pairs of comments, `<!-- begin NAME -->` and `<!-- end NAME -->`. What stands
between them is made here from `examples/mlp.py`, by the commands that the text names. Code is
generated for one kind of processor (CPU below), so that every machine of its family makes the same
text. With --check nothing is written, and the exit status says whether the README is current.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from graphc.cli import main
from graphc.cli.bench import report
from graphc.cli.bench.results import Run

ROOT = Path(__file__).resolve().parent.parent
README, MODEL, BENCH = ROOT / "README.md", "examples/mlp.py", ROOT / "docs" / "bench.json"
PICTURE = ROOT / "docs" / "mlp.svg"
CPU = "haswell"
SIZES = ("--size", "batch=32")
BLOCK = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)


def graphc(*arguments: str, status: int = 0) -> str:
    """What a command prints, without paths of this machine; it must end with ``status``."""
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        ended = main(list(arguments))
    text = printed.getvalue() if status == ended == 0 else complained.getvalue()
    if ended != status:
        raise SystemExit(f"graphc {' '.join(arguments)} ended with status {ended}:\n{text}")
    return text.replace(f"{ROOT}/", "").rstrip().lstrip("\n")


def fenced(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip().lstrip(chr(10))}\n```\n"


# The blocks ---------------------------------------------------------------------------------------
def program() -> str:
    """The model itself."""
    return fenced((ROOT / MODEL).read_text("utf-8"), "python")


def graph() -> str:
    return fenced(graphc("show", f"{MODEL}:loss"))


def backward() -> str:
    """The lines that differentiation adds."""
    lines = graphc("show", f"{MODEL}:loss", "--wrt", "params").splitlines()
    return fenced("\n".join(line for line in lines if "# gradient" in line or "return" in line))


def passes() -> str:
    return fenced(graphc("passes", f"{MODEL}:step", *SIZES, "--rules"))


def ledger() -> str:
    """Some lines of the ledger: the rules of algebra, not of sharing."""
    printed = graphc("passes", f"{MODEL}:step", *SIZES, "--ledger").split("ledger\n")[1]
    chosen = [line for line in printed.splitlines() if " simplify " in line]
    return fenced("\n".join(line.strip() for line in chosen[:6]))


def kernels() -> str:
    return fenced(graphc("show", f"{MODEL}:step", *SIZES, "--kernels"))


def fusion() -> str:
    return fenced(graphc("show", f"{MODEL}:step", *SIZES, "--source", "fusion"))


def loops() -> str:
    return fenced(source("loops"))


def llvm() -> str:
    return fenced(busiest(source("llvm"), "@llvm.fma"), "llvm")


def asm() -> str:
    return fenced(busiest(source("asm"), "vfmadd").replace("\t", "    "), "gas")


def error() -> str:
    """What a wrong program is told."""
    return fenced(graphc("show", "examples/wrong.py:scores", status=1))


def speed() -> str:
    """What calls cost, from the last run of `graphc bench` that was kept."""
    if not BENCH.exists():
        return "Run `graphc bench` to measure it on your machine.\n"
    run = Run.read(BENCH)
    said = [
        f"One run on {run.machine['processor']}, {run.machine['system']}, "
        f"{run.machine['peers']}: {report.verdict(run)}. An asterisk marks the best peer.",
        *(folded(run, threads, report.speed) for threads in reversed(run.thread_counts)),
    ]
    if report.failures(run):
        columns = ["workload", ">threads", "system", "why"]
        said += ["Not measured:", markdown(columns, report.failures(run))]
    return "\n\n".join(said) + "\n"


def building() -> str:
    """What it takes until calls can be made, from the same run."""
    if not BENCH.exists():
        return "Run `graphc bench` to measure it on your machine.\n"
    run = Run.read(BENCH)
    made = max(run.thread_counts)
    return folded(run, made, lambda run, results: report.making(results)) + "\n"


def folded(run: Run, threads: int, table: Callable[..., report.Table]) -> str:
    """A long table behind a line that opens it."""
    title = report.threads_shown(threads) + report.limits_shown(run, threads)
    rows = markdown(*table(run, run.on(threads)))
    said = f"{rows}\n\n{report.footnote(run, threads)}".rstrip()
    return f"<details><summary>{title}</summary>\n\n{said}\n\n</details>"


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """A table; a column whose name starts with ">" is set flush right."""
    lines = [[name.removeprefix(">") for name in columns]]
    lines.append(["---:" if name.startswith(">") else "---" for name in columns])
    cells = [[cell.replace("|", "/").replace("*", "\\*") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *cells])


def source(level: str, kernel: int = 0) -> str:
    """One kernel's code for the chosen processor."""
    before = os.environ.get("GRAPHC_CPU")
    os.environ["GRAPHC_CPU"] = CPU
    try:
        at = ("show", f"{MODEL}:step", *SIZES, "--source", level, "--kernel", str(kernel))
        return graphc(*at)
    finally:
        if before is None:
            del os.environ["GRAPHC_CPU"]
        else:
            os.environ["GRAPHC_CPU"] = before


def busiest(code: str, instruction: str) -> str:
    """The block, from a label to a jump, with most of the instruction: the inner loop."""
    blocks: list[list[str]] = [[]]
    for line in code.splitlines():
        if re.match(r"[.\w]+:", line):
            blocks.append([])
        blocks[-1].append(line)
        if re.match(r"\s+(j\w+|br|ret\w*)\s", line):
            blocks.append([])
    best = max(blocks, key=lambda block: sum(instruction in line for line in block))
    return "\n".join(line for line in best if ".p2align" not in line)


BLOCKS: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        program,
        graph,
        backward,
        passes,
        ledger,
        kernels,
        fusion,
        loops,
        llvm,
        asm,
        error,
        speed,
        building,
    )
}
MEASURED = {"speed", "building"}
"""Blocks that differ from run to run."""
NATIVE = {"loops", "llvm", "asm"}
"""Blocks that need the family of processors that CPU belongs to."""


def stable(text: str) -> str:
    """The text without times, and with the same spaces everywhere."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.]* (s|ms|us|ns)\b", "TIME", text))


def written(text: str) -> str:
    """README.md with every block made anew."""
    return BLOCK.sub(lambda m: m[1] + BLOCKS[m[2]]() + m[4], text)


def outdated(text: str, skipped: set[str] = MEASURED) -> list[str]:
    """The names of the blocks that are not as they would be made now."""
    found = {m[2]: m[3] for m in BLOCK.finditer(text)}
    return [
        name
        for name, make in BLOCKS.items()
        if name not in skipped
        if name not in found or stable(found[name]) != stable(make())
    ]


def draw() -> None:
    """The picture of the model, forward and backward."""
    graphc("show", f"{MODEL}:loss", "--wrt", "params", "-o", str(PICTURE))


if __name__ == "__main__":
    os.chdir(ROOT)
    if sys.argv[1:] == ["--check"]:
        wrong = outdated(README.read_text("utf-8"))
        sys.exit(f"README.md is not current: {', '.join(wrong)}" if wrong else 0)
    README.write_text(written(README.read_text("utf-8")), "utf-8")
    draw()
