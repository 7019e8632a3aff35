"""The pages of `graphc explain`, taken apart: the two programs of each."""

import re
import runpy
from pathlib import Path

from graphc.cli.explain import page

PROGRAM = re.compile(r"```python\n(.*?)```", re.DOTALL)
HEADINGS = ("## A program that fails", "## The program repaired", "## The rule")


def programs(code: str) -> tuple[str, str]:
    """The failing program of a page, and the repaired one."""
    failing, repaired = PROGRAM.findall(page(code))
    return failing, repaired


def run(text: str, folder: Path) -> None:
    """Run a program as a user does: from a file, whose lines messages can quote."""
    file = folder / "program.py"
    file.write_text(text, "utf-8")
    runpy.run_path(str(file), run_name="__main__")
