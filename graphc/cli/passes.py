"""``graphc passes FILE.py:NAME``: what every pass does to a graph.

Comes in: a target. Goes out: a table of nodes, kernels, rules and times; with ``--rules`` each rule
that fired, with ``--ledger`` each single application and the line of the user's program it serves.
"""

from __future__ import annotations

import argparse
from typing import Any

from graphc.cli.options import add_sizes, add_target, sizes_of, target_of
from graphc.cli.pipeline import print_pipeline, run_pipeline
from graphc.cli.screen import Screen


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("passes", help="what every pass does to a graph")
    add_target(parser)
    add_sizes(parser)
    parser.add_argument("--rules", action="store_true", help="how often each rule was applied")
    parser.add_argument("--ledger", action="store_true", help="every application, in order")
    parser.set_defaults(command=passes)


def passes(options: argparse.Namespace, screen: Screen) -> int:
    """Run the pipeline and print its table."""
    target = target_of(options)
    pipeline = run_pipeline(target.graph, sizes_of(options, target, screen))
    print_pipeline(screen, pipeline)
    if options.rules:
        screen.heading("rules applied")
        rows = [(stage, rule, n) for (stage, rule), n in pipeline.ledger.counts().items()]
        screen.table(("pass", "rule", ">times"), rows)
    if options.ledger:
        screen.heading("ledger")
        screen.say(str(pipeline.ledger))
    return 0
