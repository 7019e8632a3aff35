"""``graphc demo``: train a network with compiled code, and look at every stage of it.

Comes in: the name of a model. Goes out: its accuracy (or text in its style), tables of passes and
times, drawings and code in a folder. LeNet-5 and the perceptron learn the digits that come with the
package; the recurrent network learns to write like a text file of the user's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from graphc.cli.demo.digits import learn_digits
from graphc.cli.demo.letters import learn_letters
from graphc.cli.screen import Screen
from graphc.errors import UserError

EPOCHS = {"mlp": 6, "lenet": 8, "char-rnn": 2}
"""Enough for 97.5 % (mlp: 96 %) of the test digits; for words that look like words."""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("demo", help="train a network and look at every stage")
    parser.add_argument("--model", default="lenet", choices=list(EPOCHS))
    parser.add_argument("--epochs", type=int, help="passes over the training data")
    parser.add_argument("--text", type=Path, metavar="FILE", help="what char-rnn learns to write")
    parser.add_argument("--out", type=Path, default=Path("graphc-demo"), metavar="DIR")
    parser.add_argument("--backend", default="llvm", choices=["llvm", "numpy"])
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(command=demo)


def demo(options: argparse.Namespace, screen: Screen) -> int:
    """Run the demonstration of one model."""
    epochs = EPOCHS[options.model] if options.epochs is None else options.epochs
    if epochs < 0:
        raise UserError("GC0104", f"{epochs} epochs", fix="pass 0 or more")
    _folder(options.out)
    if options.model == "char-rnn":
        learn_letters(screen, options.text, epochs, options.backend, options.out, options.seed)
    else:
        learn_digits(screen, options.model, epochs, options.backend, options.out, options.seed)
    return 0


def _folder(path: Path) -> None:
    """Make the folder now: a training that cannot be kept should not begin."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("GC0501", f"{path} cannot be made: {error}", fix="pass --out") from error
