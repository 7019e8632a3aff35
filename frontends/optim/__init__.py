"""Optimisers as graph updates: a loss and parameters in, the parameters' next values out."""

from graphc.frontends.optim.optimisers import SGD, Adam, AdamW, Optimiser, clip_by_norm

__all__ = ["SGD", "Adam", "AdamW", "Optimiser", "clip_by_norm"]
