"""Layers, initialisers, losses: models out of tensors.

Comes in: sizes and random generators. Goes out: modules that hold parameters and build graphs.
"""

from graphc.frontends.nn import functional, init
from graphc.frontends.nn.functional import avg_pool, conv, conv_transposed, linear, max_pool
from graphc.frontends.nn.init import seed
from graphc.frontends.nn.layers import (
    GELU,
    AvgPool2d,
    Conv1d,
    Conv2d,
    Conv3d,
    Dropout,
    Embedding,
    Flatten,
    LeakyReLU,
    Linear,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from graphc.frontends.nn.losses import (
    accuracy,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse,
)
from graphc.frontends.nn.module import Module, Sequential
from graphc.frontends.nn.normalisation import BatchNorm1d, BatchNorm2d, LayerNorm
from graphc.frontends.nn.recurrent import LSTM, LSTMCell

__all__ = [
    "GELU",
    "LSTM",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Dropout",
    "Embedding",
    "Flatten",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "Module",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "accuracy",
    "avg_pool",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv",
    "conv_transposed",
    "cross_entropy",
    "functional",
    "init",
    "linear",
    "max_pool",
    "mse",
    "seed",
]
