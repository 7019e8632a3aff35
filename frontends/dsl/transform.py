"""Differentiation as users call it: gradients, products with Jacobian and Hessian matrices, and the
matrices themselves.

Comes in: tensors. Goes out: tensors of the larger graph that `graphc.grad` builds. A separate step
because a user wants an error where the compiler has a None: a derivative that is not there.

All of them work on tensors of one graph, and their results can be differentiated again. Those with
one result per tensor of ``wrt`` return a tuple, also for a single tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.batch import batched
from graphc.errors import UserError
from graphc.frontends.dsl.creation import eye
from graphc.frontends.dsl.manners import as_node, at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.grad import check_floats, gradients, pullback, pushforward, untied
from graphc.graph import Node, brief, describe
from graphc.ops.elementwise import full_like
from graphc.ops.leaves import constant
from graphc.ops.movement import broadcast_to, reshape
from graphc.site import here, serving

Tensors = Tensor | Iterable[Tensor]
Values = Value
"""One value, or a tuple or list of them where tensors are given as such."""


@at_user_line
def grad(loss: Tensor, wrt: Tensors, seed: Value | None = None) -> tuple[Tensor, ...]:
    """The derivative of ``loss`` by each tensor of ``wrt``; it can be differentiated again.

    ``loss`` is a single float, or has a ``seed`` of its shape: the derivative is then that of
    ``sum(loss * seed)``. Each result has the type of its tensor in ``wrt``. Raises `UserError`:
    GC0201 (integers, an operation without a derivative), GC0202 (no seed), GC0203 (``loss`` does
    not depend on a tensor of ``wrt``). Method: `graphc.grad`.
    """
    (loss,) = _chosen([loss], "gradient of")
    chosen = _chosen(wrt, "gradient by")
    weight = None if seed is None else _weight(loss, seed)
    found = gradients(loss.node, _nodes(chosen), weight)
    return tuple(_connected(g, [loss], [x]) for g, x in zip(found, chosen, strict=True))


def value_and_grad(
    loss: Tensor, wrt: Tensors, seed: Value | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """``loss`` and `grad` of it, as a pair to compile together."""
    return loss, grad(loss, wrt, seed)


@at_user_line
def vjp(outputs: Tensors, wrt: Tensors, seeds: Values) -> tuple[Tensor, ...]:
    """The vector-Jacobian product: the derivative of the sum of all ``output * seed`` by each
    tensor of ``wrt``, in one backward pass.

    ``outputs`` is a tensor with its seed, or a list with a list of seeds; each seed has the shape
    of its output or stretches to it. Raises `UserError`: GC0201 (integers, an operation without a
    derivative), GC0203 (no output depends on a tensor of ``wrt``), GC0302 (not a seed for each).
    """
    ys, xs = _pair(outputs, wrt)
    found = pullback(_nodes(ys), _weights(outputs, ys, seeds, "seed"), _nodes(xs))
    return tuple(_connected(g, ys, [x]) for g, x in zip(found, xs, strict=True))


@at_user_line
def jvp(outputs: Tensors, wrt: Tensors, tangents: Values) -> Tensor | tuple[Tensor, ...]:
    """The Jacobian-vector product: how each output changes when ``wrt`` moves along ``tangents``.

    ``wrt`` is a tensor with its tangent, or a list with a list of tangents; each has the shape of
    its tensor or stretches to it. Returns one tensor for a tensor ``outputs``, else a tuple, each
    of its output's type. Method: reverse mode twice (`graphc.grad.pushforward`). Raises `UserError`
    GC0201, also for a custom gradient that is not linear in its cotangent, GC0203, GC0302.
    """
    ys, xs = _pair(outputs, wrt)
    found = pushforward(_nodes(ys), _weights(wrt, xs, tangents, "tangent"), _nodes(xs))
    results = tuple(_connected(t, [y], xs) for t, y in zip(found, ys, strict=True))
    return results[0] if isinstance(outputs, Tensor) else results


@at_user_line
def hvp(loss: Tensor, wrt: Tensors, vectors: Values) -> tuple[Tensor, ...]:
    """The Hessian-vector product: second derivatives of ``loss`` by ``wrt``, times ``vectors``.

    It costs about two gradients, and makes no matrix (Pearlmutter, Fast exact multiplication by the
    Hessian, 1994). ``vectors`` are as the tangents of `jvp`; zeros come out where the gradient is
    constant. Raises `UserError` GC0201, GC0202 (``loss`` is not a single number), GC0203, GC0302.
    """
    (loss,), xs = _pair([loss], wrt)
    slopes = _slopes(loss, xs)
    found = pullback(slopes, _weights(wrt, xs, vectors, "vector"), _nodes(xs))
    return tuple(
        Tensor(full_like(0, x.node) if g is None else g) for g, x in zip(found, xs, strict=True)
    )


@at_user_line
def jacobian(output: Tensor, wrt: Tensors) -> tuple[Tensor, ...]:
    """All derivatives of all elements of ``output``: [*output.shape, *x.shape] for each x of wrt.

    The rows are computed together, as one batch of backward passes. Raises `UserError` GC0104 (an
    operation on the way cannot be vectorised: use `vjp` row by row), GC0201, GC0203.
    """
    (y,), xs = _pair([output], wrt)
    found = _rows(y.node, _nodes(xs))
    return tuple(_connected(j, [y], [x]) for j, x in zip(found, xs, strict=True))


@at_user_line
def hessian(loss: Tensor, wrt: Tensors) -> tuple[tuple[Tensor, ...], ...]:
    """All second derivatives: ``hessian(loss, [a, b])[0][1]`` is by a and b, [*a.shape, *b.shape].

    Zeros where the gradient is constant. Raises `UserError` as `jacobian`, and GC0202.
    """
    (loss,), xs = _pair([loss], wrt)
    return tuple(
        tuple(
            Tensor(_zeros(x, z) if block is None else block)
            for block, z in zip(_rows(slope, _nodes(xs)), xs, strict=True)
        )
        for slope, x in zip(_slopes(loss, xs), xs, strict=True)
    )


def _rows(y: Node, xs: Sequence[Node]) -> list[Node | None]:
    """The Jacobian matrix of ``y`` by each of ``xs``: `pullback` of every unit vector at once."""
    with serving(y, gradient=True):
        seed = full_like(0, y)
        units = reshape(eye(y.type.size, dtype=y.dtype).node, (y.type.size, *y.shape))
    found = pullback([y], [seed], xs)
    free, _ = untied(found, [seed])
    known = {x: g for x, g in zip(xs, free, strict=True) if g is not None}
    stacks = batched([*known.values()], {seed: units}, y.type.size)
    with serving(y, gradient=True):
        whole = {
            x: reshape(rows, (*y.shape, *x.shape)) for x, rows in zip(known, stacks, strict=True)
        }
    return [whole.get(x) for x in xs]


def _zeros(x: Tensor, z: Tensor) -> Node:
    return broadcast_to(constant(0, z.dtype), (*x.shape, *z.shape))


def _slopes(loss: Tensor, xs: Sequence[Tensor]) -> list[Node]:
    found = gradients(loss.node, _nodes(xs))
    return [_connected(g, [loss], [x]).node for g, x in zip(found, xs, strict=True)]


# Arguments ----------------------------------------------------------------------------------------
def _pair(outputs: Tensors, wrt: Tensors) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """What is differentiated and by what, both of floats."""
    ys, xs = _chosen(outputs, "derivative of"), _chosen(wrt, "derivative by")
    check_floats(_nodes((*ys, *xs)))
    return ys, xs


def _chosen(given: Tensors, role: str) -> Sequence[Tensor]:
    chosen = [given] if isinstance(given, Tensor) else list(given)
    for x in chosen:
        if not isinstance(x, Tensor):
            raise UserError(
                "GC0107",
                f"{role} {type(x).__name__} {str(x)[:40]!r}",
                why="tensors of one graph are differentiated by tensors of that graph",
                fix="pass the loss, then the inputs and parameters themselves",
            )
    return chosen


def _nodes(tensors: Iterable[Tensor]) -> list[Node]:
    return [x.node for x in tensors]


def _weights(given: Tensors, tensors: Sequence[Tensor], values: Values, role: str) -> list[Node]:
    """A node of the type of each tensor; ``values`` is one value if one tensor was ``given``."""
    single = isinstance(given, Tensor)
    listed = [values] if single else values
    if not isinstance(listed, tuple | list) or len(listed) != len(tensors):
        count = len(listed) if isinstance(listed, tuple | list) else 1
        raise UserError(
            "GC0302",
            f"{count} {role}s for {len(tensors)} tensors",
            why=f"each tensor has a {role} of its own",
            fix=f"pass a list of {len(tensors)}",
        )
    return [_weight(x, v) for x, v in zip(tensors, listed, strict=True)]


def _weight(x: Tensor, value: Value) -> Node:
    return broadcast_to(as_node(value, x.dtype), x.shape)


def _connected(found: Node | None, above: Sequence[Tensor], below: Sequence[Tensor]) -> Tensor:
    """A derivative of what is ``above`` by what is ``below``."""
    if found is None:
        results = " and ".join(y.node.name or "the result" for y in above)
        raise UserError(
            "GC0203",
            f"{results} does not depend on {' or '.join(brief(x.node) for x in below)}",
            why="no path of differentiable operations leads from one to the other",
            fix="leave it out of wrt, or use it in the computation (stop_gradient cuts paths)",
        ).located(str(here()), [describe(x.node) for x in (*above, *below)])
    return Tensor(found)
