"""The loop around a compiled step: epochs, progress, metrics, checkpoints, callbacks."""

from graphc.frontends.training.callbacks import (
    Checkpoint,
    CSVLog,
    EarlyStopping,
    ReduceOnPlateau,
    TensorBoardLog,
    Watch,
)
from graphc.frontends.training.checkpoint import load, save
from graphc.frontends.training.fit import History, evaluate, fit, validation
from graphc.frontends.training.loader import DataLoader
from graphc.frontends.training.reading import read_arrays

__all__ = [
    "CSVLog",
    "Checkpoint",
    "DataLoader",
    "EarlyStopping",
    "History",
    "ReduceOnPlateau",
    "TensorBoardLog",
    "Watch",
    "evaluate",
    "fit",
    "load",
    "read_arrays",
    "save",
    "validation",
]
