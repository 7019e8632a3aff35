"""The graph: nodes, operations, and walks over them.

Comes in: operations applied to nodes. Goes out: an immutable graph whose every node knows its type
and its origin. The first of the three languages: tensors are whole here, so shapes, differentiation
and algebra are done on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from dataclasses import replace as with_fields
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from graphc.arith import Arithmetic
from graphc.dims import Dim
from graphc.errors import CompilerBug, UserError
from graphc.expr import Expr
from graphc.site import Site, here
from graphc.types import DType, TensorType

Array = NDArray[Any]


class Combine(Protocol):
    """How Python operators on nodes become nodes; `graphc.ops` provides it."""

    def __call__(self, function: str, *operands: Any) -> Node: ...


@dataclass(frozen=True, eq=False)
class Node(Arithmetic):
    """The application of ``op`` to ``inputs``.

    Identity is sharing: two equal nodes are two computations until CSE. ``type`` is what
    ``op.infer`` said when the node was made. Operators work between nodes of one type, and with
    Python numbers; broadcasting is explicit here (frontends insert it).
    """

    op: Op
    inputs: tuple[Node, ...]
    type: TensorType
    site: Site = field(repr=False)

    operators: ClassVar[Combine | None] = None

    def combine(self, function: str, *operands: Any) -> Self:
        if Node.operators is None:
            raise CompilerBug("graphc.ops was not imported, so nodes have no operators")
        return Node.operators(function, *operands)  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def name(self) -> str:
        """The user's name: of an input or parameter, else the variable assigned to, else ""."""
        return self.op.label or (self.site.variable if not self.site.made_by else "")

    def __repr__(self) -> str:
        return f"<{self.name or 'node'}: {self.type} = {self.op}>"


class Read(Protocol):
    """An input as seen by `Op.at`: call it with an index to get the value there."""

    @property
    def type(self) -> TensorType: ...

    def __call__(self, *index: Expr) -> Expr: ...


class Op:
    """An operation. Subclasses are frozen dataclasses: fields are attributes, methods its rules.

    ``kind`` is all a pass may ask:

    * "leaf": a value from outside (no rules but ``infer``),
    * "free": renames indices; never needs a buffer of its own,
    * "pointwise": the value at an index reads every input at that index,
    * "reduce": combines whole axes of one input,
    * "contract": a sum of products of two inputs,
    * "scatter": combines values in at indices that data decides,
    * "compute": anything else that has a value at an index,
    * "call": a library computes it, from whole arrays to whole arrays (`graphc.ops.library`).
    """

    kind: ClassVar[str] = "compute"
    label: str = ""
    storage: Any = None
    is_input: ClassVar[bool] = False
    number: Any = None  # the value of a constant, which rewrites see through broadcasting
    stackable: ClassVar[bool] = False  # does the same for stacks of operands, as it is
    reads_bits: ClassVar[bool] = False  # `eval` takes narrow floats as stored (`precision`)

    # Any, so that a subclass may name its operands
    def infer(self, *types: Any, **_: Any) -> TensorType:
        """The type of the result. Raises `UserError` when the operands do not fit."""
        raise NotImplementedError

    def eval(self, *arrays: Any, **_: Any) -> Array:
        """The NumPy meaning: the oracle that every backend is compared with."""
        raise NotImplementedError

    def grad(self, g: Node, y: Node, *xs: Any, **_: Any) -> tuple[Node | None, ...]:
        """The cotangents of ``xs`` given the cotangent ``g`` of ``y``; None where nothing flows.

        Raises `UserError` GC0201 when the operation has no derivative.
        """
        raise UserError(
            "GC0201",
            f"{self} has no gradient",
            fix="keep it off the path from the parameters to the loss, or use stop_gradient",
        )

    def batch(self, *xs: Any, **_: Any) -> Node:
        """The operation for each element of a new first axis, which all of ``xs`` have, and the
        result too. Raises `UserError` GC0104 when there is no rule.
        """
        if self.kind == "pointwise" or self.stackable:
            return self(*xs)
        raise self.without_batch()

    def without_batch(self) -> UserError:
        """What `batch` raises when there is no rule."""
        return UserError(
            "GC0104",
            f"{self.name} cannot be vectorised",
            why="vmap needs a rule for each operation, and this one has none",
            fix="use gc.map, which takes one element after another",
        )

    def at(self, index: tuple[Expr, ...], *xs: Any, **_: Any) -> Expr:
        """The value at ``index`` as a scalar expression; ``xs[k](*j)`` reads input k at j."""
        raise NotImplementedError

    def scatter(self, index: tuple[Expr, ...], *xs: Any, **_: Any) -> tuple[tuple[Expr, ...], Expr]:
        """Of kind "scatter" only: where, and what, point ``index`` of the updates combines in.

        The result starts as input 0; the updates are the last input.
        """
        raise NotImplementedError

    # Of kind "call" only: see `graphc.ops.library`
    result: int = 0

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """Graphs that the call runs."""
        return ()

    @property
    def family(self) -> Any:
        """What the nodes that hold the results of one call have in common."""
        raise NotImplementedError

    def results(self, *types: Any) -> tuple[TensorType, ...]:
        """The types of all results."""
        raise NotImplementedError

    def bound(self, runs: Any) -> Callable[[Any, Any], None]:
        """What fills places for the results, given operands, and what runs the ``bodies``."""
        raise NotImplementedError

    def joint_batch(self, *xs: Node) -> tuple[Node, ...]:
        """All results for stacks of operands; `batch` is one of them."""
        raise NotImplementedError

    def joint_grad(self, gs: Any, ys: Any, xs: Any) -> Any:
        """The cotangents of ``xs`` given those of all results."""
        raise NotImplementedError

    def lean(self, wanted: Any, xs: Any) -> Any:
        """The results that are ``wanted``, by their numbers, made with less work; None when there
        is nothing to leave out.
        """
        return None

    def lands(self, number: int, index: tuple[Expr, ...], *_: TensorType) -> Any:
        """Where in the result the element at ``index`` of input ``number`` comes to lie, given the
        inputs' types.

        Only of ops that do nothing but give each element of their inputs a place of its own, and
        leave no place empty; None for all others.
        """
        return None

    @property
    def combine(self) -> str:
        """The scalar function that an op of kind "reduce" or "scatter" folds by."""
        raise NotImplementedError

    @property
    def reduced(self) -> tuple[int, ...]:
        """The axes of its input that an op of kind "reduce" folds."""
        raise NotImplementedError

    @property
    def unrolled(self) -> tuple[int, ...]:
        """The axes of its result that kernels write out instead of looping over them."""
        return ()

    def cost(self, y: TensorType, *xs: Any, **_: Any) -> Any:
        """Arithmetic operations of one evaluation, each scalar function being one: a number or an
        expression of sizes.
        """
        return 0 if self.kind in ("free", "leaf") else y.size

    @property
    def name(self) -> str:
        """The name in printed graphs."""
        return type(self).__name__.lower()

    def __call__(self, *inputs: Node) -> Node:
        """Apply to nodes. Raises `UserError` at the user's line when the operands do not fit."""
        try:
            inferred = self.infer(*(x.type for x in inputs))
        except UserError as error:
            raise error.located(str(here()), [describe(x) for x in inputs]) from None
        return Node(self, inputs, inferred, here())

    def __str__(self) -> str:
        """The op with its attributes, e.g. ``sum(axes=(0,))``."""
        shown = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.repr]  # type: ignore[arg-type]
        return f"{self.name}({', '.join(shown)})" if shown else self.name


def describe(node: Node) -> str:
    """One line for an error message: name, type, and where it was made."""
    where = f"   made at {node.site.file}:{node.site.line}" if node.site.code else ""
    return f"{brief(node)}{where}"


def brief(node: Node) -> str:
    """Name and type, to name a node inside a sentence."""
    return f"{node.name or node.op.name}: {node.type}"


# Walks: iterative, because graphs are deep -------------------------------------------------------
def toposort(roots: Iterable[Node], ends: Iterable[Node] = ()) -> list[Node]:
    """Every node below ``roots``, operands before their users, each once, in a stable order.

    The walk stops at ``ends``, which are left out.
    """
    order: list[Node] = []
    seen: set[Node] = set(ends)
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((x, False) for x in reversed(node.inputs) if x not in seen)
    return order


@dataclass(frozen=True)
class Graph:
    """A whole computation: ``inputs`` in calling order, ``outputs``, and ``updates``.

    An update is a parameter with its next value; it takes effect after the outputs are computed.
    Parameters and constants are leaves found by walking.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()

    printer: ClassVar[Callable[[Graph], str] | None] = None
    """How ``print(graph)`` spells a graph; `graphc.show.text` provides it."""

    def __str__(self) -> str:
        return repr(self) if Graph.printer is None else Graph.printer(self)

    @property
    def roots(self) -> tuple[Node, ...]:
        """Everything that must be computed: outputs, then the new values of updated parameters."""
        return (*self.outputs, *(value for _, value in self.updates))

    @property
    def nodes(self) -> list[Node]:
        """All nodes in execution order; inputs first, used or not."""
        return toposort((*self.inputs, *self.roots, *(target for target, _ in self.updates)))

    @property
    def parameters(self) -> tuple[Node, ...]:
        """The leaves with storage, in order of first use."""
        return tuple(n for n in self.nodes if n.op.storage is not None)

    def map(self, change: Callable[[Iterable[Node]], Mapping[Node, Node]]) -> Graph:
        """The graph exchanged by ``change``, which maps every old node to its new one."""
        new = change(self.nodes)
        return Graph(
            tuple(new[x] for x in self.inputs),
            tuple(new[y] for y in self.outputs),
            tuple((new[t], new[v]) for t, v in self.updates),
        )

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)


def readers(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each node the nodes that read it, once per operand position."""
    found: dict[Node, list[Node]] = {}
    for node in nodes:
        found.setdefault(node, [])
        for x in node.inputs:
            found.setdefault(x, []).append(node)
    return found


def call_results(order: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each result of a call of a library, all results of it in ``order``; one result may be
    there as several equal nodes.
    """
    found: dict[tuple[object, tuple[Node, ...]], list[Node]] = {}
    for node in order:
        if node.op.kind == "call":
            found.setdefault((node.op.family, node.inputs), []).append(node)
    return {node: results for results in found.values() for node in results}


# Named sizes --------------------------------------------------------------------------------------
def substitute(value: Any, sizes: Mapping[str, int], bodies: dict[Graph, Graph]) -> Any:
    """Replace named sizes inside an op's attribute: a size, a type, a tuple of them, or a body,
    which stays one and the same graph for all results of a call (``bodies`` remembers).
    """
    if isinstance(value, Dim | TensorType):
        return value.substitute(sizes)
    if isinstance(value, tuple):
        return tuple(substitute(v, sizes, bodies) for v in value)
    if isinstance(value, Graph):
        if value not in bodies:
            bodies[value] = specialise(value, sizes)
        return bodies[value]
    return value


def specialise(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph with named sizes replaced by numbers; every type is inferred again.

    Raises `UserError` where the numbers break a rule of an op, at the line of that op.
    """
    if not sizes:
        return graph

    bodies: dict[Graph, Graph] = {}

    def change(nodes: Iterable[Node]) -> Mapping[Node, Node]:
        new: dict[Node, Node] = {}
        for node in nodes:
            inputs = tuple(new[x] for x in node.inputs)
            new[node] = _specialised(node, inputs, sizes, bodies)
        return new

    return graph.map(change)


def _specialised(
    node: Node, inputs: tuple[Node, ...], sizes: Mapping[str, int], bodies: dict[Graph, Graph]
) -> Node:
    changes: dict[str, Any] = {}
    for f in fields(node.op):  # type: ignore[arg-type]
        old = getattr(node.op, f.name)
        new = substitute(old, sizes, bodies)
        if new is not old and new != old:
            changes[f.name] = new
    if not changes and inputs == node.inputs:
        return node
    return retyped(with_fields(node.op, **changes) if changes else node.op, inputs, node)  # type: ignore[type-var]


def retyped(op: Op, inputs: tuple[Node, ...], like: Node) -> Node:
    """``op`` of ``inputs`` at the site of ``like``; errors are reported there too."""
    try:
        return Node(op, inputs, op.infer(*(x.type for x in inputs)), like.site)
    except UserError as error:
        raise error.located(str(like.site), [describe(x) for x in inputs]) from None


def as_array(value: Any, dtype: DType) -> Array:
    """``value`` as a C-contiguous NumPy array of ``dtype``."""
    return np.asarray(value, dtype.numpy, order="C")  # np.ascontiguousarray would lose rank 0
