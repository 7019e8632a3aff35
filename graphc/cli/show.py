"""``graphc show FILE.py:NAME``: a graph as text or as a drawing, at any level of its compilation.

Comes in: a target, perhaps names to differentiate by. Goes out: text on the screen, or a file whose
suffix says what it is. ``--passes`` shows the graph after the passes, ``--kernels`` its kernels,
``--source`` what a backend made of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from graphc.cli.options import add_backend, add_sizes, add_target, sizes_of, target_of
from graphc.cli.screen import Screen
from graphc.cli.target import Target
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.graph import Graph
from graphc.show.draw import Drawing, draw
from graphc.show.program import kernel_hulls


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("show", help="a graph as text, as a drawing, as kernels, as code")
    add_target(parser)
    add_sizes(parser)
    add_backend(parser)
    parser.add_argument("-o", "--output", type=Path, help=".svg .dot .txt .png .pdf")
    parser.add_argument("--wrt", default="", metavar="NAMES", help="add gradients: w,b or params")
    parser.add_argument("--passes", action="store_true", help="after the passes")
    parser.add_argument("--kernels", action="store_true", help="as kernels; hulls in a drawing")
    parser.add_argument(
        "--source",
        metavar="LEVEL",
        help="as fusion, loops; llvm, asm (backend llvm); cuda, ptx, sass, usage (cuda, cuda-sim)",
    )
    parser.add_argument("--kernel", type=int, metavar="NUMBER", help="with --source: only this one")
    parser.add_argument("--all", action="store_true", help="constants and broadcasts too")
    parser.add_argument("--view", default="both", help="both, forward or backward")
    parser.add_argument("--layout", default="mirror", help="mirror or layered")
    parser.set_defaults(command=show)


def show(options: argparse.Namespace, screen: Screen) -> int:
    """Print the graph, or write it to a file."""
    target = target_of(options)
    wrt = target.named(n for n in options.wrt.split(",") if n)
    graph = draw(target.graph, wrt).graph if wrt else target.graph
    if options.source or options.kernels or options.passes:
        text, drawing = _compiled(Target(target.name, graph), options, screen)
    else:
        drawing = _drawing(target.name, target.graph, options, wrt=wrt or None)
        text = drawing.text
    if options.output is None:
        screen.say(text)
    else:
        _save(drawing, text, options.output)
        screen.say(f"written: {options.output}")
    return 0


def _compiled(target: Target, options: argparse.Namespace, screen: Screen) -> tuple[str, Drawing]:
    """The text and the drawing of a later stage than the graph as written."""
    made = Executable(target.graph, options.backend, sizes=sizes_of(options, target, screen))
    if options.source:
        text = made.source(options.source, _kernel(options.kernel, made))
        return text, _drawing(target.name, made.stages["optimised"], options)
    if options.kernels:
        program = made.program
        hulls = kernel_hulls(program)
        return made.source("kernels"), _drawing(target.name, program.graph, options, kernels=hulls)
    drawing = _drawing(target.name, made.stages["optimised"], options)
    return drawing.text, drawing


def _kernel(number: int | None, made: Executable) -> int | None:
    if number is not None and not 0 <= number < len(made.kernels):
        last = len(made.kernels) - 1
        raise UserError("GC0104", f"there is no kernel {number}", fix=f"use 0 to {last}")
    return number


def _drawing(title: str, graph: Graph, options: argparse.Namespace, **more: Any) -> Drawing:
    detail = "all" if options.all else "folded"
    return draw(graph, view=options.view, layout=options.layout, detail=detail, title=title, **more)


def _save(drawing: Drawing, text: str, path: Path) -> None:
    try:
        if path.suffix == ".txt":
            path.write_text(text + "\n", "utf-8")
        else:
            drawing.save(path)
    except OSError as error:
        raise UserError("GC0501", f"{path} cannot be written: {error}") from error
