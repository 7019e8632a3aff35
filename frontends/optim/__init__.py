"""Optimisers as graph updates: a loss and parameters in, the parameters' next values out.

Beside them what changes a step: learning rates that follow the steps (`schedules`), limits for
gradients, averages of parameters.
"""

from graphc.frontends.optim import schedules
from graphc.frontends.optim.accumulation import Accumulated
from graphc.frontends.optim.adam import LAMB, Adam, AdamW, NAdam
from graphc.frontends.optim.adaptive import Adadelta, Adagrad, RMSprop
from graphc.frontends.optim.averaging import Average, ExponentialAverage, PolyakAverage
from graphc.frontends.optim.clipping import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    global_norm,
)
from graphc.frontends.optim.descent import SAGA, SGD, Lion
from graphc.frontends.optim.optimiser import Groups, Optimiser, PerParameter
from graphc.frontends.optim.scaling import LossScaler

__all__ = [
    "LAMB",
    "SAGA",
    "SGD",
    "Accumulated",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Average",
    "ExponentialAverage",
    "Groups",
    "Lion",
    "LossScaler",
    "NAdam",
    "Optimiser",
    "PerParameter",
    "PolyakAverage",
    "RMSprop",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "global_norm",
    "schedules",
]
