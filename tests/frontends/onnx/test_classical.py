"""Trees and features."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import run, run_everywhere

TREES = """y = ai.onnx.ml.TreeEnsemble<
  aggregate_function = AGGREGATE, n_targets = 2, tree_roots = [0, 2],
  nodes_featureids = [0, 1, 1], nodes_modes = uint8[3] {0, 3, 1},
  nodes_splits = float[3] {1.5, 0.0, 2.0},
  nodes_truenodeids = [0, 1, 3], nodes_trueleafs = [1, 1, 1],
  nodes_falsenodeids = [1, 2, 4], nodes_falseleafs = [0, 1, 1],
  nodes_missing_value_tracks_true = [1, 0, 0],
  leaf_targetids = [0, 1, 0, 0, 1], leaf_weights = float[5] {1, 2, 4, 8, -16}>(x)"""
ROWS = np.array([[1, 5], [2, 1], [2, -1], [np.nan, 1]], np.float32)
ENDS = [(0, 4), (1, 3), (2, 3), (0, 3)]
LEAVES = [(0, 1), (1, 2), (0, 4), (0, 8), (1, -16)]


@pytest.mark.parametrize("aggregate", [0, 1, 2, 3])
def test_leaves_of_several_trees_together(aggregate):
    (y,) = run_everywhere("float[4,2] x", TREES.replace("AGGREGATE", str(aggregate)), ROWS)
    for row, ends in zip(y, ENDS, strict=True):
        for target in (0, 1):
            weights = [LEAVES[e][1] for e in ends if LEAVES[e][0] == target]
            ways = sum(weights) / 2, sum(weights), min(weights, default=0), max(weights, default=0)
            assert row[target] == ways[aggregate]


@pytest.mark.parametrize(
    ("good", "bad"),
    [("nodes_falsenodeids = [1, 2, 4]", "nodes_falsenodeids = [0, 2, 4]"),
     ("nodes_falsenodeids = [1, 2, 4]", "nodes_falsenodeids = [1, 2, 9]"),
     ("nodes_trueleafs = [1, 1, 1]", "nodes_trueleafs = [1, 1]")],
)  # fmt: skip
def test_nodes_that_are_no_trees_are_refused(good, bad):
    with pytest.raises(UserError, match="GC0501"):
        run("float[4,2] x", TREES.replace("AGGREGATE", "1").replace(good, bad), ROWS)


def test_features_by_place():
    body = "k = Constant<value = int64[2] {3, 0}>() y = ai.onnx.ml.ArrayFeatureExtractor(x, k)"
    (y,) = run("float[4] x", body, np.arange(4, dtype=np.float32))
    assert y.tolist() == [[3, 0]]


LABELS = "y = ai.onnx.ml.LabelEncoder<TABLE>(x)"


@pytest.mark.parametrize(
    ("x", "table", "wanted"),
    [
        (np.array([[3, 5], [4, 3]]), "keys_int64s=[3, 4], values_int64s=[30, 40]",
         [[30, -1], [40, 30]]),
        (np.array([3, 5]), "keys_int64s=[5], values_floats=[2.5], default_float=9.", [9, 2.5]),
        (np.array([np.nan, 1], np.float32), "keys_floats=[1., nan], values_int64s=[7, 8]", [8, 7]),
    ],
)  # fmt: skip
def test_labels_of_keys(x, table, wanted):
    kind = {"int64": "int64", "float32": "float"}[x.dtype.name]
    inputs = f"{kind}[{','.join(map(str, x.shape))}] x"
    (y,) = run_everywhere(inputs, LABELS.replace("TABLE", table), x)
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize(
    ("code", "table"),
    [("GC0505", 'keys_strings=["a"], values_int64s=[7]'),
     ("GC0501", "keys_int64s=[1, 2], values_int64s=[7]")],
)  # fmt: skip
def test_labels_of_text_and_tables_that_do_not_fit_are_refused(code, table):
    with pytest.raises(UserError, match=code):
        run("int64[2] x", LABELS.replace("TABLE", table), np.array([1, 2]))
