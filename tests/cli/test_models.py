"""MODEL.onnx as a target: what every command makes of it, and what is wrong with a file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx.parser import parse_model

import graphc as gc
from graphc.cli.bench.systems import takes
from graphc.cli.bench.workload import arrays_of
from graphc.cli.bench.workloads import chosen
from graphc.cli.target import find_target

SCORES = """
<ir_version: 8, opset_import: ["" : 18]>
scores (float[batch,3] x, float[3,2] w) => (float[batch,2] y, float[batch] total)
<float[2] bias = {1.0, 2.0}, int64[1] one = {1}>
{
    product = MatMul (x, w)
    y = Add (product, bias)
    total = ReduceSum <keepdims: int = 0> (y, one)
}
"""

RESHAPED = """
<ir_version: 8, opset_import: ["" : 18]>
reshaped (float[6] x, int64[2] shape) => (float[N,M] y) { y = Reshape (x, shape) }
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model in the current folder, made by nobody who knows of graphc."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "scores.onnx"
    path.write_bytes(parse_model(SCORES).SerializeToString())
    return path.name


def arrays(batch: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(batch)
    return rng.normal(size=(batch, 3)).astype("float32"), rng.normal(size=(3, 2)).astype("float32")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_run_computes(graphc, model, backend, named):
    x, w = arrays()
    np.save("x.npy", x)
    np.save("w.npy", w)
    inputs = ["w=w.npy", "x=x.npy"] if named else ["x.npy", "w.npy"]
    given = [part for text in inputs for part in ("--input", text)]
    ran = graphc("run", model, "--backend", backend, *given, "-o", "out.npz")
    assert (ran.status, ran.err) == (0, "")
    assert "y: f32[5,2]" in ran.out
    with np.load("out.npz") as results:
        np.testing.assert_allclose(results["y"], x @ w + [1, 2], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(results["total"], (x @ w + [1, 2]).sum(1), rtol=1e-5, atol=1e-5)


def test_run_draws_inputs_that_are_not_given(graphc, model):
    ran = graphc("run", model, "--size", "batch=2", "--backend", "numpy")
    assert ran.status == 0
    assert "total: f32[2]" in ran.out
    assert "batch=8" in graphc("run", model, "--backend", "numpy").err


def test_show_and_passes_take_models(graphc, model):
    shown = graphc("show", model)
    assert shown.status == 0
    assert shown.out.startswith("graph(x: f32[batch,3], w: f32[3,2])\n  param bias: f32[2]\n")
    assert graphc("show", model, "-o", "model.svg").status == 0
    assert "kernel 0:" in graphc("show", model, "--kernels", "--size", "batch=3").out
    assert "simplify" in graphc("passes", model, "--size", "batch=3").out


def test_an_input_that_decides_a_shape_must_be_given(graphc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reshaped.onnx").write_bytes(parse_model(RESHAPED).SerializeToString())
    np.save("shape.npy", np.array([2, 3]))
    failed = graphc("run", "reshaped.onnx")
    assert failed.status == 1
    assert "GC0106" in failed.err
    assert "--input shape=FILE.npy" in failed.err
    for command in ("run", "show"):
        made = graphc(command, "reshaped.onnx", "--input", "shape=shape.npy")
        assert made.status == 0
        assert "f32[2,3]" in made.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("missing.onnx",), "GC0503"),
        (("scores.onnx", "--input", "z=x.npy"), "GC0302"),
        (("scores.onnx", "--input", "x.npy", "--input", "x.npy", "--input", "x.npy"), "GC0302"),
        (("scores.onnx", "--input", "x=f32[3,3]"), "GC0503"),
        (("broken.onnx",), "GC0501"),
    ],
)
def test_what_is_wrong_is_said(graphc, model, tmp_path, arguments, code):
    np.save("x.npy", arrays()[0])
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x99 no model")
    ran = graphc("run", *arguments)
    assert ran.status == 1
    assert f"{code}: " in ran.err


def test_without_the_package_it_is_said_what_to_install(graphc, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("graphc.frontends.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    ran = graphc("show", model)
    assert ran.status == 1
    assert "pip install 'graphc[onnx]'" in ran.err
    with pytest.raises(gc.UserError, match="GC0501"):
        _ = gc.onnx


def test_graphc_starts_without_onnx(model):
    assert "onnx" in sys.modules  # of this test
    program = "import sys, graphc, graphc.cli; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_names_of_results_are_those_of_the_model(model):
    target = find_target(model)
    assert (target.name, target.results) == ("scores", ("y", "total"))


# bench --------------------------------------------------------------------------------------------
def test_bench_measures_models(graphc, model):
    options = ("--peers", "none", "--threads", "1", "--quick", "--size", "batch=2")
    ran = graphc("bench", model, *options, "--json", "run.json")
    assert ran.status == 0
    (result,) = json.loads(Path("run.json").read_text())["results"]
    assert result["workload"] == "scores.onnx batch=2"
    assert result["outcomes"]["graphc llvm"]["times"]["count"] > 0


def test_a_model_is_a_workload_for_those_that_read_it(model):
    (workload,) = chosen([model])
    assert workload.name == "scores.onnx batch=8"
    taken = [s for s in ("graphc llvm", "onnxruntime", "torch", "numpy") if takes(s, workload)]
    assert taken == ["graphc llvm", "onnxruntime"]
    inputs, _ = arrays_of(workload.model)
    assert {name: x.shape for name, x in inputs.items()} == {"x": (8, 3), "w": (3, 2)}


def test_sizes_that_no_model_has_are_refused(model):
    with pytest.raises(gc.UserError, match="GC0305"):
        chosen([model, "call"], {"rows": 2})
