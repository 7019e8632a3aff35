"""From arguments to one command, and from its outcome to an exit status.

Comes in: arguments. Goes out: 0 when all is well, 1 when the user's program is wrong, 2 when the
command is. Each command is one module with ``add``, which declares its options and names the
function that does the work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from graphc.cli import bench, demo, doctor, explain, passes, run, show
from graphc.cli.screen import Screen
from graphc.errors import CompilerBug, UserError

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended (128 + SIGINT)."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="graphc",
        description="A static-graph compiler for deep learning that you can see, read and measure.",
    )
    top.add_argument("--version", action="version", version=f"graphc {version('graphc')}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in (demo, show, passes, run, explain, bench, doctor):
        command.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with ``argv`` (default: the process's own) and return the exit status."""
    try:
        options = parser().parse_args(argv)
    except SystemExit as request:  # argparse ends the process; a caller from Python wants a number
        return request.code if isinstance(request.code, int) else 2
    try:
        return int(options.command(options, Screen()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except CompilerBug as bug:
        print(f"graphc has a bug, please report it with this text:\n{bug}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our pipe has left; let Python's own flush say nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
