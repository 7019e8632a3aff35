"""Losses: one number that says how far predictions are from the truth.

Comes in: predictions and targets. Goes out: a scalar, or one number per example with
``reduction="none"``. A separate folder because these are what `gc.grad` starts from.
"""

from graphc.frontends.nn.losses.classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge,
    kl_div,
    multi_margin,
    nll,
    soft_margin,
)
from graphc.frontends.nn.losses.embedding import (
    contrastive,
    cosine_embedding,
    hinge_embedding,
    margin_ranking,
    triplet_margin,
)
from graphc.frontends.nn.losses.regression import (
    gaussian_nll,
    huber,
    mae,
    mse,
    poisson_nll,
    smooth_l1,
)
from graphc.frontends.nn.losses.sequence import ctc

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "contrastive",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "gaussian_nll",
    "hinge",
    "hinge_embedding",
    "huber",
    "kl_div",
    "mae",
    "margin_ranking",
    "mse",
    "multi_margin",
    "nll",
    "poisson_nll",
    "smooth_l1",
    "soft_margin",
    "triplet_margin",
]
