"""Operators of the domain ai.onnx.ml: features, labels, trees.

Comes in: tensors, and the tables that training made. Goes out: tensors. A separate file because it
is a domain of its own, of models that are no networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import operator
from graphc.frontends.onnx.translate import literal
from graphc.graph import Array

DOMAIN = "ai.onnx.ml"
Numbers = Sequence[int]


@operator("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(x: Tensor, places: Tensor) -> Tensor:
    """The elements at ``places`` of the last axis."""
    found = gc.take(x, places.reshape(-1), axis=-1)
    return found if x.ndim > 1 else found[None]


@operator("Binarizer", domain=DOMAIN)
def binarizer(x: Tensor, *, threshold: float = 0.0) -> Tensor:
    """1 where ``x`` is larger than ``threshold``, else 0."""
    return (x > threshold).astype(x.dtype)


@operator("LabelEncoder", domain=DOMAIN)
def label_encoder(x: Tensor, **tables: Any) -> Tensor:
    """The value that a table has for each key in ``x``, a default for what is no key; nan is one.

    Raises `UserError` GC0505 for keys or values of text.
    """
    keys, values = _listed("keys", tables), _listed("values", tables)
    if keys.shape != values.shape or not keys.size:
        raise UserError("GC0501", f"LabelEncoder: {keys.size} keys and {values.size} values")
    usual = tables.get("default_float", -0.0) if values.dtype.kind == "f" else -1
    default = tables.get("default_tensor", tables.get("default_int64", usual))
    table = literal(keys.astype(x.dtype.name))
    found = x[..., None] == table
    if x.dtype.is_float:
        found = found | (gc.isnan(x)[..., None] & gc.isnan(table))
    chosen = gc.take(literal(values), gc.argmax(found.astype("int8"), axis=-1))
    return gc.where(found.any(-1), chosen, np.asarray(default).item())


_LISTS = {"floats": np.float32, "int64s": np.int64, "tensor": None}


def _listed(what: str, tables: dict[str, Any]) -> Array:
    """The keys or values, which have an attribute for each type."""
    for name, dtype in _LISTS.items():
        if f"{what}_{name}" in tables:
            found: Array = np.asarray(tables[f"{what}_{name}"], dtype)
            if found.dtype.kind in "fiu":
                return found
    raise UserError("GC0505", f"LabelEncoder without {what} that are numbers")


# Trees --------------------------------------------------------------------------------------------
TESTS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    gc.less_equal,
    gc.less,
    gc.greater_equal,
    gc.greater,
    gc.equal,
    gc.not_equal,
)
"""What a node asks of a feature and its split, by ONNX's number; the next one is membership."""
MEMBER = len(TESTS)


@dataclass(frozen=True)
class _Trees:
    """Tables of nodes, then leaves: ``ways`` leads from each to the next where its test fails and
    where it holds, from a leaf to itself. ``members`` are the sets of tests for membership, filled
    up with nan.
    """

    ways: tuple[Array, Array]
    features: Array
    modes: Array
    splits: Array
    misses: Array
    members: Array

    def leaves(self, x: Tensor, roots: Numbers) -> Tensor:
        """The leaf ``[batch, trees]`` that each row of ``x`` ends in."""
        place = gc.broadcast_to(literal(np.array(roots)), (x.shape[0], len(roots)))
        for _ in range(self._depth(roots)):
            chosen = self._holds(place, x)
            failed, held = (gc.take(literal(way), place) for way in self.ways)
            place = gc.where(chosen, held, failed)
        return place - self.features.size

    def _holds(self, place: Tensor, x: Tensor) -> Tensor:
        """Whether the test of the node at each ``place`` holds; for leaves it does not matter."""
        node = gc.minimum(place, self.features.size - 1)
        value = gc.take_along_axis(x, gc.take(literal(self.features), node), axis=1)
        split, mode = (gc.take(literal(t), node) for t in (self.splits, self.modes))
        found = gc.isnan(value) & gc.take(literal(self.misses), node)
        for number in np.unique(self.modes):
            if number == MEMBER:
                own = gc.take(literal(self.members), node, axis=0)
                held = (value[..., None] == own).any(-1)
            else:
                held = TESTS[number](value, split)
            found = found | (held & (mode == int(number)))
        return found

    def _depth(self, roots: Numbers) -> int:
        """How many tests there are on the longest way. Raises `UserError` GC0501 for a cycle."""
        inner, depth = {int(r) for r in roots}, 0
        while inner := {int(k) for way in self.ways for k in way[list(inner)]} - self._ends:
            depth += 1
            if depth > self.features.size:
                raise UserError("GC0501", "TreeEnsemble: the nodes go round in a cycle")
        return depth + 1

    @property
    def _ends(self) -> set[int]:
        return set(range(self.features.size, self.ways[0].size))


@operator("TreeEnsemble", domain=DOMAIN)
def tree_ensemble(
    x: Tensor,
    *,
    aggregate_function: int = 1,
    leaf_targetids: Numbers,
    leaf_weights: Array,
    membership_values: Array | None = None,
    n_targets: int = 1,
    post_transform: int = 0,
    tree_roots: Numbers,
    **nodes: Any,
) -> Tensor:
    """What the trees say about the rows of ``x`` ``[batch, features]``: ``[batch, n_targets]``.

    Each row ends in one leaf of each tree, which has a weight for one target; the weights of all
    trees are summed, averaged, or the smallest or largest is taken.
    """
    if post_transform:
        raise UserError("GC0505", f"TreeEnsemble with post_transform {post_transform}")
    trees = _trees(nodes, len(leaf_weights), membership_values)
    _check_places("root", np.asarray(tree_roots), trees.features.size)
    leaf = trees.leaves(x, tree_roots)
    weights = np.zeros((len(leaf_weights), n_targets), leaf_weights.dtype)
    targets = _column("leaf_targetids", leaf_targetids, len(leaf_weights))
    _check_places("leaf", targets, n_targets)
    own = (np.arange(len(leaf_weights)), targets)
    weights[own] = leaf_weights
    if aggregate_function < 2:
        total = gc.take(literal(weights), leaf, axis=0).sum(1)
        return total if aggregate_function else total / len(tree_roots)
    present = np.zeros(weights.shape, np.bool_)
    present[own] = True
    return _extreme(
        *(gc.take(literal(t), leaf, axis=0) for t in (weights, present)),
        largest=aggregate_function == 3,
    )


def _extreme(weights: Tensor, present: Tensor, *, largest: bool) -> Tensor:
    """The largest or smallest weight of those ``present``; 0 for a target without any."""
    if largest:
        found = gc.where(present, weights, -np.inf).max(1)
    else:
        found = gc.where(present, weights, np.inf).min(1)
    return gc.where(present.any(1), found, 0.0)


def _trees(nodes: dict[str, Any], leaves: int, members: Array | None) -> _Trees:
    """The tables in the attributes ``nodes``: there, leaves are numbered by themselves."""
    count = len(nodes["nodes_featureids"])
    own = {name: _column(name, values, count) for name, values in nodes.items()}
    ways = [own[f"nodes_{w}nodeids"] + count * own[f"nodes_{w}leafs"] for w in ("false", "true")]
    _check_places("way", np.concatenate(ways), count + leaves)
    ends = np.arange(count, count + leaves)
    failed, held = (np.concatenate([way, ends]) for way in ways)
    modes, splits = own["nodes_modes"].astype(np.int64), own["nodes_splits"]
    misses = own.get("nodes_missing_value_tracks_true", np.zeros(count)).astype(np.bool_)
    sets = _sets(modes, members, splits.dtype)
    return _Trees((failed, held), own["nodes_featureids"], modes, splits, misses, sets)


def _column(name: str, values: Any, count: int) -> Array:
    found: Array = np.asarray(values)
    if found.shape != (count,):
        raise UserError("GC0501", f"TreeEnsemble: {name} has {found.size} values for {count} nodes")
    return found


def _check_places(what: str, places: Array, count: int) -> None:
    """Raises `UserError` GC0501 unless all are from 0 to before ``count``."""
    if places.size and not 0 <= places.min() <= places.max() < count:
        raise UserError("GC0501", f"TreeEnsemble: a {what} leads nowhere", fix="export it anew")


def _sets(modes: Array, members: Array | None, dtype: Any) -> Array:
    """The sets of the nodes that ask for membership, which follow each other, each with nan at its
    end; a row for each node.
    """
    given = np.empty(0, dtype) if members is None else members
    ends = np.flatnonzero(np.isnan(given))
    parts = [p[~np.isnan(p)] for p in np.split(given, ends)]
    found = np.full((modes.size, max(map(len, parts)) or 1), np.nan, dtype)
    for node, part in zip(np.flatnonzero(modes == MEMBER), parts, strict=False):
        found[node, : len(part)] = part
    return found
