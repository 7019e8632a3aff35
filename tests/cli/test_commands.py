"""Every command: what it prints, what it writes, which status it ends with."""

import subprocess
import sys
from importlib import resources
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from graphc.backends.cuda import sim
from graphc.backends.cuda.sim.sanitize import Access, Finding, Outcome
from graphc.cli.screen import Screen, duration
from graphc.errors import CODES, CompilerBug
from graphc.passes import PIPELINE


def test_help_and_usage(graphc):
    assert graphc("--help").status == 0
    assert graphc("--version").out.startswith("graphc ")
    assert graphc("fly").status == 2
    assert graphc().status == 2


# show ---------------------------------------------------------------------------------------------
def test_show_prints_the_graph_as_text(graphc, file):
    shown = graphc("show", f"{file}:loss")
    assert shown.status == 0
    assert shown.out.startswith("graph(x: f32[batch,4])\n  param w: f32[4,3]\n")
    assert "tanh" in shown.out


def test_show_adds_gradients(graphc, file):
    plain, both = (graphc("show", f"{file}:loss", *more).out for more in ([], ["--wrt", "w"]))
    assert "gradient of" in both
    assert "gradient of" not in plain
    assert graphc("show", f"{file}:loss", "--wrt", "params").out == both


@pytest.mark.parametrize(
    ("name", "start"), [("g.svg", "<svg"), ("g.dot", "digraph"), ("g.txt", "graph(")]
)
def test_show_writes_drawings(graphc, file, tmp_path, name, start):
    shown = graphc("show", f"{file}:loss", "--wrt", "w", "-o", name)
    assert shown.status == 0
    assert f"written: {name}" in shown.out
    assert (tmp_path / name).read_text("utf-8").startswith(start)


def test_show_goes_down_to_kernels_and_code(graphc, file):
    at = ("show", f"{file}:loss", "--size", "batch=4")
    assert "kernel 0:" in graphc(*at, "--kernels").out
    assert "f32[4,4]" in graphc(*at, "--passes").out
    assert "for i in" in graphc(*at, "--source", "loops").out
    assert "define" in graphc(*at, "--source", "llvm").out


def test_show_says_which_sizes_it_assumes(graphc, file):
    assert "batch=8 (choose with --size)" in graphc("show", f"{file}:loss", "--kernels").err


def test_show_draws_kernels(graphc, file, tmp_path):
    assert graphc("show", f"{file}:loss", "--kernels", "-o", "k.svg").status == 0
    assert "kernel 0" in (tmp_path / "k.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("{file}:nothing",), "GC0503"),
        (("{file}:loss", "--wrt", "v"), "GC0503"),
        (("{file}:loss", "-o", "no/such/folder/g.svg"), "GC0501"),
        (("{file}:loss", "-o", "g.bmp"), "GC0104"),
        (("{file}:loss", "--kernels", "--size", "rows=4"), "GC0305"),
        (("{file}:loss", "--kernels", "--size", "batch"), "GC0503"),
        (("{file}:loss", "--kernels", "--size", "batch=few"), "GC0503"),
        (("{file}:loss", "--source", "poetry"), "GC0104"),
        (("{file}:loss", "--kernels", "--backend", "numpy"), "GC0104"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(graphc, file, arguments, code):
    shown = graphc("show", *(a.format(file=file) for a in arguments))
    assert shown.status == 1
    assert f"{code}: " in shown.err
    assert "Traceback" not in shown.err


# passes -------------------------------------------------------------------------------------------
def test_passes_counts_nodes_and_kernels(graphc, file):
    lines = graphc("passes", f"{file}:step", "--size", "batch=2").out.splitlines()
    assert lines[0].split() == ["pass", "nodes", "kernels", "rules", "applied", "time"]
    names = [line.split()[0] for line in lines[2:]]
    assert names == [step.name for step in PIPELINE]
    assert all(int(line.split()[1]) > 0 for line in lines[2:])


def test_passes_lists_rules_and_the_ledger(graphc, file):
    printed = graphc("passes", f"{file}:step", "--rules", "--ledger").out
    assert "rules applied" in printed
    assert "model_under_test.py:" in printed


# run ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_run_computes(graphc, file, tmp_path, backend):
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    given = ("--input", "x=x.npy", "-o", "out.npz")
    ran = graphc("run", f"{file}:h", "--backend", backend, *given)
    assert ran.status == 0
    assert "h: f32[5,3]" in ran.out
    with np.load(tmp_path / "out.npz") as results:
        expected = np.tanh(x @ np.ones((4, 3), np.float32))
        np.testing.assert_allclose(results["h"], expected, rtol=1e-5, atol=1e-6)


def test_run_draws_inputs_that_are_not_given(graphc, file):
    first, second = (graphc("run", f"{file}:loss", "--backend", "numpy").out for _ in range(2))
    assert first.split("numpy:")[0] == second.split("numpy:")[0]
    other = graphc("run", f"{file}:loss", "--backend", "numpy", "--seed", "1").out
    assert other.split("numpy:")[0] != first.split("numpy:")[0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--input", "x=missing.npy"), "GC0501"),
        (("--input", "x=model_under_test.py"), "GC0503"),
        (("--input", "x.txt"), "GC0503"),
        (("--backend", "cuda"), "GC0403"),
        (("--sanitize", "race"), "GC0104"),
    ],
)
def test_run_says_what_is_wrong(graphc, file, arguments, code):
    ran = graphc("run", f"{file}:loss", *arguments)
    assert ran.status == 1
    assert f"{code}: " in ran.err


def test_run_refuses_an_array_for_an_input_that_is_not_there(graphc, file, tmp_path):
    np.save(tmp_path / "z.npy", np.ones(3))
    assert "GC0302: " in graphc("run", f"{file}:loss", "--input", "z=z.npy").err


def test_run_names_what_a_sanitizer_found(graphc, file, monkeypatch):
    access = Access("writes 4 bytes", 3, "x[0] = 1;")
    seen = []

    def sanitized(kind, arguments):
        seen.append((kind, arguments))
        return Outcome(0, "loss: f32[]\n", (Finding("data race", "kernel", (access,)),))

    monkeypatch.setattr(sim, "sanitized", sanitized)
    given = ("run", f"{file}:loss", "--backend", "cuda-sim", "--seed", "0", "--size", "batch=4")
    ran = graphc(*given, "--sanitize", "race")
    assert seen == [("race", [*given])]
    assert ran.status == 1
    assert "kernel: data race\n  writes 4 bytes in line 3: x[0] = 1;" in ran.out


# explain ------------------------------------------------------------------------------------------
def test_explain(graphc):
    listed = graphc("explain").out
    assert all(code in listed for code in CODES)
    text = resources.files("graphc.cli.explain").joinpath("GC0101.md").read_text("utf-8")
    assert graphc("explain", "gc0101").out.strip() == text.strip()
    unknown = graphc("explain", "GC9999")
    assert (unknown.status, unknown.err[:6]) == (1, "GC0503")


# Output -------------------------------------------------------------------------------------------
def test_a_piped_command_writes_no_control_characters(file):
    command = [sys.executable, "-m", "graphc.cli", "passes", f"{file}:loss"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "as written" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(file):
    command = f"{sys.executable} -m graphc.cli show {file}:loss | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("graph(")
    assert "Error" not in done.stderr


def test_tables_are_aligned(capsys):
    Screen().table(("name", ">n"), [("a", 1), ("long name", 100)])
    assert capsys.readouterr().out == "name         n\na            1\nlong name  100\n"


def test_a_terminal_gets_frames_and_set_pages():
    screen = Screen(Console(force_terminal=True, file=StringIO(), width=60))
    screen.table(("name", ">n"), [("[b]", 1)])
    screen.page("# Title\n\nSome *text*.")
    shown = screen.console.file.getvalue()
    assert "│ [b]  │ 1 │" in shown
    assert "*text*" not in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 us"), (5e-9, "5 ns")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_ctrl_c_and_bugs_have_their_own_endings(graphc, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    def fail(*_):
        raise CompilerBug("a rule was broken")

    monkeypatch.setattr("graphc.cli.explain.explain", stop)
    assert graphc("explain").status == 130
    monkeypatch.setattr("graphc.cli.explain.explain", fail)
    with pytest.raises(CompilerBug):
        graphc("explain")
    assert "please report it" in capsys.readouterr().err
