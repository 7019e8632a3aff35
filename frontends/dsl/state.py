"""The values of many parameters at once, by name: reading them out and checking them back in.

Comes in: parameters by name, or arrays by name. Goes out: the other. A separate step because model
state, optimiser state and checkpoint files must all be refused in the same words when they do not
fit, and nothing may be changed before everything is known to fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.leaves import assign, value
from graphc.frontends.dsl.tensor import Tensor

Arrays = Mapping[str, np.ndarray[Any, Any]]


def read_state(parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """A copy of every parameter's array, by name."""
    return {name: value(parameter) for name, parameter in parameters.items()}


def write_state(parameters: Mapping[str, Tensor], arrays: Arrays) -> None:
    """Copy ``arrays`` into the parameters of the same names.

    Raises `UserError` GC0502, before anything is written, when a name is missing or unknown, or an
    array has another shape or a dtype that would lose values.
    """
    if problems := _problems(parameters, arrays):
        raise UserError(
            "GC0502",
            "the saved state does not fit: " + "; ".join(problems[:5]),
            why="every parameter gets the saved array of its name, shape and dtype"
            + (f" ({len(problems)} problems in all)" if len(problems) > 5 else ""),
            fix="build the model with the options it was saved with",
        )
    for name, parameter in parameters.items():
        assign(parameter, arrays[name])


def _problems(parameters: Mapping[str, Tensor], arrays: Arrays) -> list[str]:
    missing = [f"{name} is missing" for name in parameters if name not in arrays]
    unknown = [f"{name} is unknown" for name in arrays if name not in parameters]
    misfits = [
        f"{name} is {p.node.type}, saved {_type_of(arrays[name])}"
        for name, p in parameters.items()
        if name in arrays and not _fits(p, arrays[name])
    ]
    return missing + unknown + misfits


def _type_of(array: Any) -> str:
    return f"{np.asarray(array).dtype.name}{list(np.shape(array))}"


def _fits(parameter: Tensor, array: Any) -> bool:
    array = np.asarray(array)
    return array.shape == parameter.shape and np.can_cast(
        array.dtype, parameter.dtype.numpy, "same_kind"
    )
