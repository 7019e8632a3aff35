"""Models that are cut short, broken or malicious: one clear error, and no file touched."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import graphc as gc
from graphc.frontends.onnx import load

FLOATS = onnx.TensorProto.FLOAT
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def made(*nodes, weights=None, functions=(), inputs=(("x", (4, 2)),), outputs=("y",)):
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "model",
        [helper.make_tensor_value_info(name, FLOATS, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, FLOATS, ["m", "n"]) for name in outputs],
        weights if weights is not None else [numpy_helper.from_array(WEIGHT, "w")],
    )
    versions = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=versions, functions=functions, ir_version=10)


def function(name, *nodes):
    versions = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], ["b"], nodes, versions)


def call(name, given, result):
    return helper.make_node(name, [given], [result], domain="own")


def check_refused(source, match="GC0501"):
    with pytest.raises(gc.UserError, match=match):
        load(source)


def test_the_model_is_good_as_it_is():
    (found,) = load(made()).run(np.ones((4, 2), np.float32), backend="numpy")
    assert (found == np.ones((4, 2)) @ WEIGHT).all()


@pytest.mark.parametrize("length", range(0, 100, 7))
def test_a_model_cut_short(tmp_path, length):
    path = tmp_path / "model.onnx"
    path.write_bytes(made().SerializeToString()[:length])
    check_refused(path)


def test_text_that_is_no_utf8():
    check_refused(made().SerializeToString().replace(b"model", b"mode\xff"), "not UTF-8")


def test_a_model_without_results():
    check_refused(made(outputs=()), "no results")


# Arrays -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dims", [[-1, 3], [2**62, 2**62], [2**40], [2, 4], [5]])
def test_shapes_that_do_not_fit(dims):
    weight = numpy_helper.from_array(WEIGHT, "w")
    del weight.dims[:]
    weight.dims.extend(dims)
    check_refused(made(weights=[weight]))


OUTSIDE = ["../secret", "/etc/hostname", "a/../../secret", "", ".", "missing", "link"]


@pytest.mark.parametrize("place", OUTSIDE)
def test_arrays_that_lie_elsewhere(tmp_path, place):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    weight = onnx.TensorProto(name="w", data_type=FLOATS, dims=[2, 3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    (folder / "model.onnx").write_bytes(made(weights=[weight]).SerializeToString())
    check_refused(folder / "model.onnx")


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-4"), ("offset", "8"), ("length", "4"), ("length", "1e3")]
)
def test_places_in_a_file_that_do_not_fit(tmp_path, key, value):
    (tmp_path / "data").write_bytes(WEIGHT.tobytes())
    weight = onnx.TensorProto(name="w", data_type=FLOATS, dims=[2, 3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="data")
    path = tmp_path / "model.onnx"
    path.write_bytes(made(weights=[weight]).SerializeToString())
    (found,) = load(path).run(np.ones((4, 2), np.float32), backend="numpy")
    assert (found == np.ones((4, 2)) @ WEIGHT).all()
    weight.external_data.add(key=key, value=value)
    path.write_bytes(made(weights=[weight]).SerializeToString())
    with pytest.raises(gc.UserError, match="GC0501"):
        load(path).run(np.ones((4, 2), np.float32), backend="numpy")


# Functions ----------------------------------------------------------------------------------------
def test_functions_that_call_each_other():
    functions = [function("f", call("g", "a", "b")), function("g", call("f", "a", "b"))]
    check_refused(made(call("f", "x", "y"), functions=functions))


def test_functions_that_unfold_without_end():
    """Each calls the one before twice: 60 lines, and 2**60 nodes."""
    functions = [function("f0", helper.make_node("Relu", ["a"], ["b"]))]
    for k in range(60):
        functions.append(function(f"f{k + 1}", call(f"f{k}", "a", "c"), call(f"f{k}", "c", "b")))
    check_refused(made(call("f60", "x", "y"), functions=functions), "unfold")
    small = made(call("f5", "x", "y"), functions=functions[:6])
    (found,) = load(small).run(-np.ones((4, 2), np.float32), backend="numpy")
    assert not found.any()


# Nodes --------------------------------------------------------------------------------------------
NODES = {
    "rank": helper.make_node("Conv", ["x", "w"], ["y"]),
    "axis": helper.make_node("Softmax", ["x"], ["y"], axis=5),
    "order": helper.make_node("Transpose", ["x"], ["y"], perm=[0, 0]),
    "window": helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[-1, 2]),
    "pads": helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2], pads=[1]),
    "size 0": helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[0], strides=[1]),
    "shape": helper.make_node("Reshape", ["x", "w"], ["y"]),
    "missing input": helper.make_node("Tile", ["x", ""], ["y"]),
    "text": helper.make_node("Cast", ["x"], ["y"], to=FLOATS, saturate=7),
    "division": helper.make_node("Celu", ["x"], ["y"], alpha=0.0),
    "type of sizes": helper.make_node("Tile", ["x", "w"], ["y"]),
    "rank of a number": helper.make_node("Dropout", ["x", "w"], ["y"]),
    "left out": helper.make_node("Mean", [""], ["y"]),
    "many results": helper.make_node("Split", ["x"], ["y"], num_outputs=2**40),
}


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("shape", [(4, 2), (), (1, 1, 4)])
def test_nodes_that_do_not_fit_are_named(name, shape):
    model = made(NODES[name], inputs=(("x", shape),))
    try:
        load(model).run(np.ones(shape, np.float32), backend="numpy")
        outcome = "run"
    except gc.UserError as error:
        outcome = str(error)
    assert outcome == "run" or outcome.startswith("GC")
    if "GC0505" in outcome:
        assert f"{NODES[name].op_type}(" in outcome


def test_the_error_is_what_onnx_says_of_the_node():
    with pytest.raises(gc.UserError, match=r"repeats typestr: T1, has unsupported type") as raised:
        load(made(NODES["type of sizes"])).run(np.ones((4, 2), np.float32), backend="numpy")
    assert isinstance(raised.value.__cause__, TypeError)


@gc.onnx.operator("Broken", domain="own")
def broken(x):
    """An operator with a mistake of its own."""
    return x.no_such_method()


def test_a_mistake_of_an_operator_is_no_fault_of_the_model():
    model = load(made(call("Broken", "x", "y")))
    with pytest.raises(gc.errors.CompilerBug, match=r"'y': Broken\(.*no_such_method") as raised:
        model.run(np.ones((4, 2), np.float32))
    assert isinstance(raised.value.__cause__, AttributeError)


# Changed at random --------------------------------------------------------------------------------
NOISE = st.one_of(
    st.binary(max_size=8), st.sampled_from([b"\xff" * 10, b"\x80" * 9 + b"\1", b"../../x"])
)


@given(st.data())
def test_changed_models_are_read_or_refused(data):
    content = made().SerializeToString()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        taken = data.draw(st.sampled_from([0, 1, 2, 8, 30, len(content)]))
        content = content[:place] + data.draw(NOISE) + content[place + taken :]
    try:
        load(content).run(np.ones((4, 2), np.float32), backend="numpy")
        outcome = "run"
    except gc.UserError as error:
        outcome = error.code
    assert outcome == "run" or outcome.startswith("GC")
