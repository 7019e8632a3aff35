"""The demonstration on text: an LSTM learns to write like a file, letter by letter.

Comes in: a text file. Goes out: a trained model, a sample of its writing, everything in `report`.
Training is truncated backpropagation through time (Sutskever 2013, section 2.8.6): the text is cut
into parallel streams, and the state at the end of a window is the start of the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.cli.demo.models import Writer
from graphc.cli.demo.report import Training, report
from graphc.cli.screen import Screen, duration
from graphc.errors import UserError
from graphc.frontends import data, dsl, nn, optim
from graphc.frontends.dsl.function import Function
from graphc.frontends.training import fit
from graphc.graph import Array

WINDOW, STREAMS, HIDDEN = 32, 32, 128
RATE, CLIP = 4e-3, 1.0
SAMPLE, TEMPERATURE = 400, 0.7
"""Letters to write, and how bold to choose: 0 takes the likeliest, 1 the learned distribution."""


@dataclass(frozen=True)
class Text:
    """A text as numbers: ``codes`` count in ``letters``."""

    letters: str
    codes: Array

    @property
    def streams(self) -> Array:
        """``[STREAMS, length]``: neighbouring pieces of the text, one a row."""
        length = (len(self.codes) - 1) // STREAMS
        return self.codes[: length * STREAMS].reshape(STREAMS, length)

    def windows(self) -> Iterator[tuple[Array, Array]]:
        """Letters and the letters that follow them, each ``[WINDOW, STREAMS]``."""
        streams = self.streams
        for start in range(0, streams.shape[1] - WINDOW, WINDOW):
            piece = streams[:, start : start + WINDOW + 1].T
            yield np.ascontiguousarray(piece[:-1]), np.ascontiguousarray(piece[1:])


def read_text(path: Path | None) -> Text:
    """The text in a file. Raises `UserError` GC0501 when there is none, or too little in it."""
    if path is None:
        raise UserError("GC0501", "char-rnn needs a text", fix="pass --text FILE, 100 kB or more")
    content = data.read_text(path)
    least = STREAMS * (WINDOW + 2)
    if len(content) < least:
        raise UserError("GC0501", f"{path} has {len(content)} letters", fix=f"give it {least}")
    letters = "".join(sorted(set(content)))
    number = {letter: k for k, letter in enumerate(letters)}
    return Text(letters, np.array([number[letter] for letter in content], np.int64))


def learn_letters(
    screen: Screen, path: Path | None, epochs: int, backend: str, out: Path, seed: int
) -> str:
    """Train on the text in ``path`` and report; goes out as a sample of the model's writing."""
    text = read_text(path)
    nn.seed(seed)
    model = Writer(len(text.letters), HIDDEN)
    screen.say(f"{model.title}: {len(text.codes):,} letters, {len(text.letters)} different ones")
    started = time.perf_counter()
    training, pen = build(model, text, backend)
    made = time.perf_counter() - started
    screen.say(f"graph, gradients, passes and native code in {duration(made)}\n")
    history = fit(training.step, lambda: list(text.windows()), epochs, console=screen.console)
    written = write(pen, text, seed)
    screen.heading("a sample of its writing")
    screen.say(written)
    if not history.interrupted:
        report(screen, training, out)
    return written


def build(model: Writer, text: Text, backend: str) -> tuple[Training, Function]:
    """The compiled training step, and the compiled pen that `write` moves."""
    letters = dsl.input("letters", (WINDOW, STREAMS), "int64")
    following = dsl.input("following", (WINDOW, STREAMS), "int64")
    zeros = np.zeros((STREAMS, HIDDEN), np.float32)
    h = dsl.param(zeros, name="h", trainable=False)
    c = dsl.param(zeros, name="c", trainable=False)
    scores, last = model(letters, [(h, c)])
    loss = nn.cross_entropy(scores, following)
    gradients = optim.clip_by_global_norm(dsl.grad(loss, model.parameters()), CLIP)
    updates = optim.Adam(RATE).step(model.parameters(), gradients)
    updates |= {h: last[0][0], c: last[0][1]}
    step = dsl.compile([letters, following], loss, updates, backend, name="char-rnn step")
    first = next(text.windows())
    training = Training("char-rnn", model.title, loss, model.parameters(), step, first)
    return training, _pen(model, backend)


def _pen(model: Writer, backend: str) -> Function:
    """One letter and a state in, scores of the next letter and the next state out."""
    letter = dsl.input("letter", (1, 1), "int64")
    h, c = dsl.input("h", (1, HIDDEN)), dsl.input("c", (1, HIDDEN))
    scores, last = model(letter, [(h, c)])
    return dsl.compile([letter, h, c], (scores.reshape(-1), *last[0]), backend=backend)


def write(pen: Function, text: Text, seed: int, count: int = SAMPLE) -> str:
    """``count`` letters, each drawn from the distribution that follows the ones before."""
    rng = np.random.default_rng(seed)
    h = c = np.zeros((1, HIDDEN), np.float32)
    code, written = int(text.codes[0]), []
    for _ in range(count):
        scores, h, c = pen(np.full((1, 1), code, np.int64), h, c)
        noise = rng.gumbel(size=len(scores))  # the largest of scores + noise follows softmax
        code = int(np.argmax(scores / TEMPERATURE + noise))
        written.append(text.letters[code])
    return "".join(written)
