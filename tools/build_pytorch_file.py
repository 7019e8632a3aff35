"""Makes the PyTorch checkpoint that the tests read, with what PyTorch computes from it.

usage: python tools/build_pytorch_file.py       (needs PyTorch)

The file holds a state dict, as `torch.save` writes it, under "state_dict", and under "example" the
inputs of the model and its outputs in eval mode. The model is the one of
tests/frontends/training/test_pytorch.py.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

FILE = Path(__file__).resolve().parent.parent / "tests/frontends/training/files/pytorch.pt"


class Model(nn.Module):  # type: ignore[misc]
    """One layer of each kind: convolution, normalisation, embedding, LSTM, transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.words = nn.Embedding(7, 4)
        self.lstm = nn.LSTM(4, 4, bidirectional=True, batch_first=True)
        self.mixer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.scores = nn.Linear(8, 3)

    def forward(self, images: Any, words: Any) -> Any:
        """Images [n, 1, 6, 6] and words [n, 9] to scores [n, 9, 3]."""
        places = torch.relu(self.norm(self.conv(images))).flatten(2).mT
        states, _ = self.lstm(places + self.words(words))
        return self.scores(self.mixer(states))


def main() -> None:
    """Writes the file."""
    torch.manual_seed(0)
    model = Model()
    images, words = torch.randn(2, 1, 6, 6), torch.randint(0, 7, (2, 9))
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(4, 1, 6, 6) * 2 + 1, torch.randint(0, 7, (4, 9)))
        model.eval()
        example = {"images": images, "words": words, "outputs": model(images, words)}
    FILE.parent.mkdir(exist_ok=True)
    torch.save({"epoch": 5, "state_dict": model.state_dict(), "example": example}, FILE)


if __name__ == "__main__":
    main()
