"""The loop around a compiled step: epochs, progress, metrics, checkpoints."""

from graphc.frontends.training.checkpoint import load, save
from graphc.frontends.training.fit import History, fit

__all__ = ["History", "fit", "load", "save"]
