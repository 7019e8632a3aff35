"""`spectral_norm`: a layer whose weight is divided by its largest singular value.

Comes in: a module with a weight. Goes out: the same, with a new weight in every graph it is used
in. A separate file because this weight depends on the mode: in training each call of the step also
improves the estimate of the singular value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import maximum
from graphc.frontends.dsl.leaves import parameter, value
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.reductions import stop_gradient
from graphc.frontends.dsl.shaping import moveaxis
from graphc.frontends.dsl.tensor import Tensor, matmul
from graphc.frontends.nn import init
from graphc.frontends.nn.init import Rng
from graphc.frontends.nn.module import Module, is_parameter
from graphc.graph import Array

AnyModule = TypeVar("AnyModule", bound=Module)

FIRST = 15
"""Steps of the power iteration before the first use."""


@at_user_line
def spectral_norm(
    module: AnyModule,
    name: str = "weight",
    iterations: int = 1,
    epsilon: float = 1e-12,
    dim: int = 0,
    *,
    rng: Rng = None,
) -> AnyModule:
    """``module`` with its parameter ``name`` divided by its largest singular value, in place.

    The parameter becomes ``weight_orig``; as a matrix its rows are along axis ``dim``. The singular
    value is estimated by the power iteration (Miyato et al. 2018, algorithm 1), whose vectors
    ``weight_u`` and ``weight_v`` have no gradient: in training each call of the module takes
    ``iterations`` steps, and puts the new vectors into `Module.updates`; in `eval` mode they are
    used as they are. Raises `UserError` GC0104, GC0107 when ``name`` is no parameter of 2 or more
    axes.
    """
    old = getattr(module, name, None)
    if not isinstance(old, Tensor) or not is_parameter(old) or old.ndim < 2:
        raise UserError(
            "GC0107",
            f"{name} of {type(module).__name__} is no parameter of 2 or more axes",
            fix="name an attribute that is one, e.g. 'weight'",
        )
    if iterations < 1:
        raise UserError("GC0104", f"{iterations} steps of power iteration", fix="use 1 or more")
    axis = axis_of(dim, old.ndim)
    u, v = _singular_vectors(value(old), axis, epsilon, rng)
    made = {"orig": old, "u": _kept(u, f"{name}_u", old), "v": _kept(v, f"{name}_v", old)}
    for ending, tensor in made.items():
        setattr(module, f"{name}_{ending}", tensor)
    _SpectralNorm(module, name, iterations, epsilon, axis).install()
    return module


class _SpectralNorm:
    """What a module does before its own `forward`."""

    def __init__(
        self, module: Module, name: str, iterations: int, epsilon: float, axis: int
    ) -> None:
        self.module, self.name, self.axis = module, name, axis
        self.iterations, self.epsilon = iterations, epsilon
        self.original: Callable[..., Any] = module.forward

    def install(self) -> None:
        """Put the weight, and the `forward` that renews it, into the module."""
        setattr(self.module, self.name, self._weight()[0])
        setattr(self.module, "forward", self.forward)  # noqa: B010  (a method is replaced)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The module's own, with a weight for its mode."""
        weight, updates = self._weight()
        setattr(self.module, self.name, weight)
        result = self.original(*inputs, **options)
        self.module.record({**vars(self.module).get("_recorded", {}), **updates})
        return result

    def _weight(self) -> tuple[Tensor, dict[Tensor, Tensor]]:
        """The divided weight, and the next values of the vectors."""
        weight, *kept = (getattr(self.module, f"{self.name}_{k}") for k in ("orig", "u", "v"))
        rows = moveaxis(weight, self.axis, 0)
        matrix = rows.reshape((rows.shape[0], -1))
        u, v = kept
        updates: dict[Tensor, Tensor] = {}
        if self.module.training:
            still = stop_gradient(matrix)
            for _ in range(self.iterations):
                v = self._unit(matmul(u, still))
                u = self._unit(matmul(still, v))
            updates = dict(zip(kept, (u, v), strict=True))
        return weight / matmul(u, matmul(matrix, v)), updates

    def _unit(self, x: Tensor) -> Tensor:
        return x / maximum((x * x).sum() ** 0.5, self.epsilon)


def _kept(vector: Array, name: str, like: Tensor) -> Tensor:
    return parameter(vector, name, trainable=False, dtype=like.dtype)


def _singular_vectors(weight: Array, axis: int, epsilon: float, rng: Rng) -> tuple[Array, Array]:
    """Of the largest singular value, by power iteration from a random vector."""
    rows = np.moveaxis(weight, axis, 0)
    matrix = rows.reshape(rows.shape[0], -1).astype(np.float64)
    u = init.generator(rng).normal(size=len(matrix))
    v = np.zeros(matrix.shape[1])
    for _ in range(FIRST):
        v = _unit(u @ matrix, epsilon)
        u = _unit(matrix @ v, epsilon)
    return u, v


def _unit(x: Array, epsilon: float) -> Array:
    unit: Array = x / np.maximum(np.linalg.norm(x), epsilon)
    return unit
