"""Lesson 9: an LSTM learns to write, letter by letter, like a text file.

The network is written out over 16 letters: a loop in Python makes 16 copies of the cell in the
graph, which share their weights. `graphc demo --model char-rnn` is the grown-up version.
usage: python examples/09_letters.py [FILE [steps]]
"""

import sys
from pathlib import Path

import numpy as np

import graphc as gc
from graphc import nn, optim

TIME, BATCH, HIDDEN = 16, 16, 64
FILE = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "LICENSE"
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 400


def main() -> None:
    text = " ".join(FILE.read_text("utf-8").split())
    alphabet = sorted(set(text))
    codes = np.array([alphabet.index(letter) for letter in text])
    nn.seed(0)
    lstm, top = nn.LSTM(len(alphabet), HIDDEN), nn.Linear(HIDDEN, len(alphabet))

    letters = gc.input("letters", (TIME, BATCH), "int64")
    following = gc.input("following", (TIME, BATCH), "int64")
    outputs, _ = lstm(gc.one_hot(letters, len(alphabet)))
    loss = nn.cross_entropy(top(outputs), following)
    weights = lstm.parameters() + top.parameters()
    learn = gc.compile([letters, following], loss, optim.Adam(0.01).updates(loss, weights))

    rng = np.random.default_rng(0)
    for step in range(STEPS + 1):
        starts = rng.integers(0, len(codes) - TIME - 1, BATCH)
        pieces = np.stack([codes[s : s + TIME + 1] for s in starts], axis=1)
        cost = float(learn(pieces[:-1], pieces[1:]))
        if step % 100 == 0:
            print(f"step {step}: loss {cost:.3f}")

    letter = gc.input("letter", (1, 1), "int64")
    state = (gc.input("h", (1, HIDDEN)), gc.input("c", (1, HIDDEN)))
    output, (last,) = lstm(gc.one_hot(letter, len(alphabet)), [state])
    chances = gc.softmax(2 * top(output).reshape(-1))
    write = gc.compile([letter, *state], (chances, *last))
    h = c = np.zeros((1, HIDDEN), np.float32)
    code, written = codes[0], []
    for _ in range(200):
        p, h, c = write(np.full((1, 1), code), h, c)
        code = int(rng.choice(len(alphabet), p=p.astype(np.float64) / p.sum(dtype=np.float64)))
        written.append(alphabet[code])
    print("".join(written))


if __name__ == "__main__":
    main()
