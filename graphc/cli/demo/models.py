"""The networks of the demonstration, written as a user would write them.

Comes in: nothing. Goes out: models. A separate file because these are meant to be read first.
"""

from __future__ import annotations

from graphc.frontends import dsl, nn
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.recurrent import State


class Perceptron(nn.Module):
    """Two layers: 784 pixels, 128 hidden units, 10 scores."""

    title = "a two-layer perceptron"

    def __init__(self) -> None:
        self.hidden = nn.Linear(784, 128)
        self.scores = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """``[batch, 1, 28, 28]`` to scores ``[batch, 10]``."""
        pixels = images.reshape((images.shape[0], 784))
        scores: Tensor = self.scores(dsl.relu(self.hidden(pixels)))
        return scores


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998, figure 2), with ReLU and maximum pooling as is usual today."""

    title = "LeNet-5"

    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        """``[batch, 1, 28, 28]`` to scores ``[batch, 10]``."""
        x = nn.max_pool(dsl.relu(self.conv1(images)), 2)
        x = nn.max_pool(dsl.relu(self.conv2(x)), 2)
        x = x.reshape((x.shape[0], 16 * 5 * 5))
        x = dsl.relu(self.fc1(x))
        x = dsl.relu(self.fc2(x))
        scores: Tensor = self.fc3(x)
        return scores


class Writer(nn.Module):
    """A character-level LSTM: letters as one-hot vectors, one score per possible next letter."""

    title = "a character-level LSTM"

    def __init__(self, letters: int, hidden: int) -> None:
        self.letters, self.size = letters, hidden
        self.lstm = nn.LSTM(letters, hidden)
        self.scores = nn.Linear(hidden, letters)

    def forward(self, text: Tensor, state: list[State]) -> tuple[Tensor, list[State]]:
        """Letters ``[time, n]`` to scores ``[time, n, letters]``, and the last state."""
        outputs, last = self.lstm(dsl.one_hot(text, self.letters), state)
        return self.scores(outputs), last
