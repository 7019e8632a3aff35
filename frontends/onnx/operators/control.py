"""Branches and loops: If, Loop, Scan.

Comes in: subgraphs, as functions of values that see what is around them. Goes out: their results. A
separate step because ONNX does not say what a compiler wants to know of a loop: whether its end is
decided by numbers or by data, and whether its steps are all alike.

A Loop becomes, the first that fits: a scan (a number of steps that is known; it has a gradient), a
loop until a condition on data fails (without results of each step, whose number the graph would not
know), or as many copies of its body as there are steps (the only way where values are sequences, or
change their shape from step to step).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import Size, evaluate
from graphc.errors import UserError
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Body, operator
from graphc.frontends.onnx.translate import literal
from graphc.frontends.onnx.values import Undecided, Value, known, undecided_inputs

LARGEST_UNROLLED = 10_000
"""Steps of a loop that is written out."""


def decided(condition: Tensor) -> bool | None:
    """The value of a single bool, or None where it depends on an input."""
    try:
        return bool(known(condition).item())
    except Undecided:
        return None


# If -----------------------------------------------------------------------------------------------
@operator("If")
def if_(condition: Tensor, *, then_branch: Body, else_branch: Body) -> tuple[Value, ...]:
    """The results of one branch; where ``condition`` is known, only that branch is translated.

    Raises `UserError` GC0106 when data decides, and the branches do not both fit the operands, or
    have results of other types.
    """
    predicate = condition.reshape(())
    verdict = decided(predicate)
    if verdict is not None:
        return tuple(then_branch() if verdict else else_branch())
    deciding = Undecided(undecided_inputs([predicate.node]))
    seen = {**then_branch.outside, **else_branch.outside}
    operands = {name: x for name, x in seen.items() if isinstance(x, Tensor) and _varies(x)}
    types: list[Any] = []

    def lazily(branch: Body) -> Callable[[Any], list[Value]]:
        def results(stand_ins: Any) -> list[Value]:
            try:
                found = list(branch.seeing(stand_ins)())
            except Undecided as error:
                raise _about(error, stand_ins, operands) from error
            except UserError as error:  # the branch that is not taken may be for other shapes
                raise deciding from error
            types.append(_types(found))
            if types[0] != types[-1] or any(x is None for x in flatten(found)[0]):
                raise deciding
            return found

        return results

    found: Sequence[Value] = gc.cond(predicate, lazily(then_branch), lazily(else_branch), operands)
    return tuple(found)


def _varies(x: Tensor) -> bool:
    """Whether ``x`` is computed from inputs.

    Branches get such tensors as operands: what they make of them is then computed only in the
    branch that is taken.
    """
    return bool(undecided_inputs([x.node]))


def _about(
    error: Undecided, stand_ins: Mapping[str, Tensor], operands: Mapping[str, Tensor]
) -> Undecided:
    """The error of a branch that sees ``stand_ins``, about what these are there for."""
    meant = {x.node: operands[name].node for name, x in stand_ins.items()}
    return Undecided(undecided_inputs(meant.get(x, x) for x in error.inputs))


def _types(value: Value | Sequence[Value]) -> Any:
    """What a static graph has to know of a value before it runs."""
    if isinstance(value, Tensor):
        return value.node.type
    return value if value is None else [_types(x) for x in value]


# Loop ---------------------------------------------------------------------------------------------
class _Unfit(Exception):
    """A loop is not of the form that is being tried: nothing is wrong, the next one is."""


@contextlib.contextmanager
def _alike(*stand_ins: Tensor) -> Iterator[None]:
    """Raises `_Unfit` where a shape depends on values of ``stand_ins``, so that steps differ."""
    try:
        yield
    except Undecided as error:
        if {x.node for x in stand_ins}.isdisjoint(error.inputs):
            raise
        raise _Unfit from error


@dataclass(frozen=True)
class _Loop:
    """``verdict, *states, *outputs = body(step, True, *states)``, at most ``trip_count`` times, and
    as long as ``condition``, then ``verdict``, is true.
    """

    trip_count: Tensor | None
    condition: Tensor | None
    states: tuple[Value, ...]
    body: Body

    def step(self, counter: Tensor, states: Sequence[Value]) -> tuple[Tensor, Any, Any]:
        """The verdict, the new states and the outputs of one step.

        The body is told that the condition is true, as it does not run otherwise: a loop that only
        hands it on is then seen to depend on its trip count alone.
        """
        verdict, *found = self.body(counter, literal(np.array(True)), *states)
        return verdict.reshape(()), found[: len(states)], found[len(states) :]

    def uniform_step(self, counter: Tensor, states: Any) -> tuple[Tensor, Any, Any]:
        """The same on stand-ins for the values of all steps. Raises `_Unfit` where steps differ."""
        with _alike(counter, *states):
            verdict, new, outputs = self.step(counter, states)
        if _types(new) != _types(states):
            raise _Unfit
        return verdict, new, outputs


@operator("Loop")
def loop(
    trip_count: Tensor | None = None,
    condition: Tensor | None = None,
    *states: Value,
    body: Body,
) -> tuple[Value, ...]:
    """The last states, then the outputs of all steps, stacked.

    Raises `UserError`: GC0106 where data decides how many steps are stacked, or what shapes are;
    GC0505 for a loop without end, or one of too many steps to write out.
    """
    count, start = (x if x is None else x.reshape(()) for x in (trip_count, condition))
    one = _Loop(count, start, states, body)
    forms: list[Callable[[_Loop], tuple[Value, ...]]] = [_scanned, _repeated]
    for form in forms if all(isinstance(x, Tensor) for x in states) else []:
        try:
            return form(one)
        except _Unfit:
            continue
    return _written_out(one)


def _scanned(one: _Loop) -> tuple[Value, ...]:
    """With a number of steps that is known before, all of the same kind."""
    length = _length(one)

    def step(states: Any, counter: Tensor) -> tuple[Any, Any]:
        verdict, new, outputs = one.uniform_step(counter, states)
        if not decided(verdict):
            raise _Unfit
        return new, outputs

    last, stacked = gc.scan(step, list(one.states), gc.arange(length))
    return *last, *stacked


def _length(one: _Loop) -> Size:
    """The trip count. Raises `_Unfit` where it is not known, or does not end the loop."""
    starts = True if one.condition is None else decided(one.condition)
    if starts is None or one.trip_count is None:
        raise _Unfit
    try:
        count = known(one.trip_count).item()
    except Undecided as error:
        raise _Unfit from error
    if not starts:
        return 0
    return max(count, 0) if isinstance(count, int) else count


def _repeated(one: _Loop) -> tuple[Value, ...]:
    """Until data says so, and with nothing to stack."""

    def goes_on(carried: Any) -> Tensor:
        verdict: Tensor = carried[1]
        return verdict if one.trip_count is None else verdict & (carried[0] < one.trip_count)

    def step(carried: Any) -> Any:
        counter, _, states = carried
        verdict, new, outputs = one.uniform_step(counter, states)
        if outputs:
            raise _Unfit
        return counter + 1, verdict, new

    start = literal(np.array(True)) if one.condition is None else one.condition
    found = gc.while_loop(goes_on, step, (literal(np.array(0)), start, list(one.states)))
    return tuple(found[2])


def _written_out(one: _Loop) -> tuple[Value, ...]:
    """One copy of the body after another."""
    count = None if one.trip_count is None else int(known(one.trip_count).item())
    goes_on = one.condition is None or bool(known(one.condition).item())
    states, rows = list(one.states), list[list[Any]]()
    while goes_on and (count is None or len(rows) < count):
        if len(rows) == LARGEST_UNROLLED:
            raise UserError("GC0505", f"a Loop of more than {LARGEST_UNROLLED} steps to write out")
        verdict, states, outputs = one.step(literal(np.array(len(rows))), states)
        rows.append(outputs)
        goes_on = bool(known(verdict).item())
    return *states, *(gc.stack(column) for column in zip(*rows, strict=True))


# Scan ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Scan:
    """What the attributes of a Scan say: axes and directions (1 is backward) by input and output.

    Empty lists stand for first axes, and forward.
    """

    body: Body
    count: int
    input_axes: Sequence[int] = ()
    input_directions: Sequence[int] = ()
    output_axes: Sequence[int] = ()
    output_directions: Sequence[int] = ()

    def __call__(self, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The last states and the stacked outputs for states and sequences."""
        number = len(values) - self.count
        states, xs = list(values[:number]), list(values[number:])
        axes, backward = self._of(self.input_axes, xs), self._of(self.input_directions, xs)
        moved = [gc.moveaxis(x, a, 0) for x, a in zip(xs, axes, strict=True)]
        turned = [_turned(x, b) for x, b in zip(moved, backward, strict=True)]
        try:
            last, ys = gc.scan(self._uniform_step, states, turned)
        except _Unfit:
            last, ys = self._written_out(states, turned)
        axes, backward = self._of(self.output_axes, ys), self._of(self.output_directions, ys)
        turned = [_turned(y, b) for y, b in zip(ys, backward, strict=True)]
        return *last, *(gc.moveaxis(y, 0, a) for y, a in zip(turned, axes, strict=True))

    def _step(self, states: Sequence[Tensor], elements: Sequence[Tensor]) -> tuple[Any, Any]:
        found = list(self.body(*states, *elements))
        return found[: len(states)], found[len(states) :]

    def _uniform_step(self, states: Any, elements: Any) -> tuple[Any, Any]:
        with _alike(*states, *elements):
            return self._step(states, elements)

    def _written_out(self, states: Any, xs: Sequence[Tensor]) -> tuple[Any, Any]:
        rows = []
        for step in range(evaluate(xs[0].shape[0], {})):
            states, outputs = self._step(states, [x[step] for x in xs])
            rows.append(outputs)
        return states, [gc.stack(column) for column in zip(*rows, strict=True)]

    @staticmethod
    def _of(numbers: Sequence[int], tensors: Sequence[Tensor]) -> Sequence[int]:
        return numbers or [0] * len(tensors)


def _turned(x: Tensor, backward: int) -> Tensor:
    return gc.flip(x, axis=0) if backward else x


@operator("Scan", since=9)
def scan(
    *values: Tensor,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] = (),
    scan_input_directions: Sequence[int] = (),
    scan_output_axes: Sequence[int] = (),
    scan_output_directions: Sequence[int] = (),
) -> tuple[Tensor, ...]:
    """``body`` step by step along sequences, with states that go from each step to the next."""
    axes = (scan_input_axes, scan_input_directions, scan_output_axes, scan_output_directions)
    return _Scan(body, num_scan_inputs, *axes)(values)


@operator("Scan", since=8)
def scan_of_batches(
    lengths: Tensor | None,
    *values: Tensor,
    body: Body,
    num_scan_inputs: int,
    directions: Sequence[int] = (),
) -> tuple[Tensor, ...]:
    """The same for each element of a batch: the first axis is the batch, the second the time."""
    if lengths is not None:
        raise UserError(
            "GC0505", "Scan of operator set 8 with lengths of its sequences",
            fix="export the model with a newer operator set, which has no such input",
        )  # fmt: skip
    one = _Scan(body, num_scan_inputs, input_directions=directions)
    found: Sequence[Tensor] = gc.map(lambda one_of_each: list(one(one_of_each)), list(values))
    return tuple(found)
