"""The loop around a compiled step: epochs, progress, metrics, checkpoints, callbacks."""

from graphc.frontends.training.callbacks import (
    Checkpoint,
    CSVLog,
    EarlyStopping,
    ReduceOnPlateau,
    TensorBoardLog,
    Watch,
)
from graphc.frontends.training.checkpoint import load, read_arrays, save
from graphc.frontends.training.fit import History, evaluate, fit, validation

__all__ = [
    "CSVLog",
    "Checkpoint",
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
