"""Runs `mypy --strict` over graphc, graphc.frontends and graphc.backends as one package.

usage: python tools/check_types.py [mypy arguments, by default -p graphc]

The package is spread over three folders, and mypy does not follow the import hook of an editable
install. So the same tree that an install makes is built here out of links, and mypy runs inside
it; its report then names the files of this repository. Exit status: that of mypy.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "typed"
MAPPED = {"frontends": "graphc/frontends", "backends": "graphc/backends"}


def link(place: Path, target: Path) -> None:
    """Makes `place` a link to `target`; a link that is already right stays as it is."""
    if place.is_symlink() and place.readlink() == target:
        return
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def build_tree() -> None:
    """Lays links to the entries of graphc/, and to the two mapped folders, into one package."""
    package = TREE / "graphc"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {entry.name: entry for entry in (ROOT / "graphc").iterdir()}
    wanted |= {folder: ROOT / folder for folder in MAPPED}
    for stale in {entry.name for entry in package.iterdir()} - set(wanted):
        (package / stale).unlink()
    for name, target in wanted.items():
        link(package / name, target)


def main(arguments: list[str]) -> int:
    """Runs mypy inside the tree and prints its report with the repository's own file names."""
    build_tree()
    config = ["--config-file", str(ROOT / "pyproject.toml")]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *config, *cache, *(arguments or ["-p", "graphc"])]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    report = done.stdout
    for folder, place in MAPPED.items():
        report = report.replace(place + os.sep, folder + os.sep)
    print(report + done.stderr, end="")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
