"""The benchmark runs, in processes of its own, and says nothing that was not measured.

Times are never judged here: sizes are tiny and the machine is busy.
"""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from graphc.cli import bench
from graphc.cli.bench import child as children
from graphc.cli.bench import systems
from graphc.cli.bench.child import Child
from graphc.cli.bench.measure import measure
from graphc.cli.bench.results import Outcome, Plan, Result, Roofline, Run, Times
from graphc.cli.bench.spares import Spares
from graphc.cli.bench.workloads import FAMILIES, ON_REQUEST, WORKLOADS, chosen
from graphc.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The JSON of a run: two workloads, NumPy as the only peer."""
    path = tmp_path_factory.mktemp("bench") / "run.json"
    names = ("call", "matmul-128-tn", "--peers", "numpy", "--threads", "1", "--quick")
    ended = subprocess.run(
        [sys.executable, "-m", "graphc.cli", "bench", *names, "--json", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return path


# A whole run --------------------------------------------------------------------------------------
def test_a_run_says_everything_in_json(file):
    report = json.loads(file.read_text())
    assert {"processor", "numpy", "threads"} <= set(report["machine"])
    assert [r["workload"] for r in report["results"]] == ["call", "matmul-128-tn"]
    for result in report["results"]:
        assert set(result["outcomes"]) == {"graphc llvm", "numpy"}
        for outcome in result["outcomes"].values():
            times = outcome["times"]
            assert 0 < times["low"] <= times["median"] <= times["high"]
            assert outcome["first"] > 0
            assert outcome["peak"] > 1e6
            assert not outcome["failed"]
        assert result["outcomes"]["graphc llvm"]["cached"] > 0
    assert report["results"][1]["flops"] == 2 * 24**3
    assert report["results"][1]["bytes"] == 3 * 4 * 24**2
    limit = report["rooflines"]["1"]
    assert limit["single"] > 0
    assert limit["double"] > 0
    assert limit["core_to_core"] >= 0
    assert all(size > 0 and rate > 0 for size, rate in limit["copied"])


def test_a_run_is_read_back_and_printed_again(file, graphc, tmp_path):
    assert Run.read(file) == Run.read(file)
    copy = tmp_path / "again.json"
    ran = graphc("bench", "--from", file, "--json", copy)
    assert ran.status == 0
    assert json.loads(copy.read_text()) == json.loads(file.read_text())
    assert "matmul-128-tn" in ran.out
    assert "bars reached, geometric mean" in ran.out
    assert "with each family of workloads counted once" in ran.out


def test_a_run_is_drawn(file, graphc, tmp_path):
    pytest.importorskip("matplotlib")
    ran = graphc("bench", "--from", file, "--plot", tmp_path / "run.svg")
    assert ran.status == 0
    assert (tmp_path / "run.svg").read_text().count("<path") > 20


def test_what_is_no_run_is_refused(file, graphc, tmp_path):
    whole = file.read_text()
    wrong = [
        "", "[]", "golf", '{"machine": {}}', whole[:-20], whole.replace('"low": ', '"low": "'),
        whole.replace('"threads": 1', '"threads": null'), whole.replace('"bar"', '"golf"'),
    ]  # fmt: skip
    for text in wrong:
        (tmp_path / "wrong.json").write_text(text)
        ran = graphc("bench", "--from", tmp_path / "wrong.json")
        assert ran.err.startswith("GC0501")
        assert "does not hold a run of graphc bench" in ran.err
    assert "No such file" in graphc("bench", "--from", tmp_path / "nothing.json").err


def test_a_part_of_a_run_is_printed(file, graphc):
    ran = graphc("bench", "matmul", "--from", file)
    assert "matmul-128-tn" in ran.out
    assert "call  " not in ran.out


def test_a_missed_bar_is_a_status(file, graphc, tmp_path):
    data = json.loads(file.read_text())
    for bar, status in ((1e-9, 0), (1e9, 1)):
        for result in data["results"]:
            result["bar"] = bar
        (tmp_path / "bar.json").write_text(json.dumps(data))
        ran = graphc("bench", "--from", tmp_path / "bar.json", "--check")
        assert ran.status == status
        assert ("NO" in ran.out) == bool(status)


# What a user asks for -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["golf"], "no workload 'golf'"),
        (["call", "--peers", "abacus"], "no system 'abacus'"),
        (["call", "--backends", "abacus"], "no system 'abacus'"),
        (["call", "--threads", "4096", "--peers", "none"], "4096 threads"),
    ],
)
def test_what_is_not_there_is_refused(graphc, words, said):
    ran = graphc("bench", *words)
    assert ran.status == 1
    assert ran.err.startswith("GC0503")
    assert said in ran.err


def test_near_names_are_guessed_and_no_name_is_said_twice(graphc):
    said = graphc("bench", "sofmax").err
    assert "did you mean softmax" in said
    assert "graphc bench --list" in said
    assert len(said) < 300
    said = graphc("bench", "call", "--peers", "jaxx").err
    assert "did you mean jax?" in said
    assert said.count("numpy") == 1


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--threads", "0", "list of numbers"),
        ("--threads", "two", "list of numbers"),
        ("--threads", "", "list of numbers"),
        ("--seconds", "-1", "number of seconds"),
        ("--seconds", "nan", "number of seconds"),
        ("--backends", "none", "at least one backend"),
    ],
)
def test_values_that_mean_nothing_are_refused(graphc, option, value, said):
    ran = graphc("bench", option, value)
    assert ran.status == 2
    assert said in ran.err


def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(graphc, tmp_path):
    ran = graphc("bench", "call", "--json", tmp_path / "nowhere" / "run.json")
    assert ran.err.startswith("GC0501")
    assert "mkdir -p" in ran.err
    assert "is a folder" in graphc("bench", "call", "--json", tmp_path).err
    pytest.importorskip("matplotlib")
    assert "there is no folder" in graphc("bench", "--plot", tmp_path / "nowhere" / "run.svg").err
    assert "ends in no" in graphc("bench", "call", "--plot", tmp_path / "run.golf").err


def test_plots_without_matplotlib_say_what_to_install(graphc, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ran = graphc("bench", "call", "--plot", tmp_path / "run.svg")
    assert ran.err.startswith("GC0504")
    assert "pip install 'graphc[plot]'" in ran.err


def test_workloads_are_chosen_by_name_pattern_and_family():
    assert [w.name for w in chosen(["call"])] == ["call"]
    assert chosen(["elementwise"]) == list(FAMILIES["elementwise"])
    assert {w.name for w in chosen(["matmul-128-*"])} >= {"matmul-128-nn", "matmul-128-tt-f64"}
    asked = {w.name for family in ON_REQUEST for w in FAMILIES[family]}
    assert not asked & {w.name for w in chosen([])}
    assert len(WORKLOADS) == sum(map(len, FAMILIES.values())), "two workloads have one name"


def test_the_list_names_all(graphc):
    ran = graphc("bench", "--list")
    assert all(name in ran.out for name in WORKLOADS)


def test_a_missing_peer_is_said_once_and_left_out(graphc, monkeypatch):
    monkeypatch.setattr(systems, "find_spec", lambda name: None if name == "torch" else True)
    seen = []

    def noted(workload, plan, counts, say, spares):
        seen.append(plan.systems)
        return []

    monkeypatch.setattr(bench, "measure", noted)
    monkeypatch.setattr(bench, "limits", lambda *_: None)
    ran = graphc("bench", "call", "chain-4M", "--peers", "numpy,torch,torch.compile")
    assert ran.err.count("pip install 'graphc[peers]'") == 1
    assert seen == [("graphc llvm", "numpy")] * 2


def test_control_c_prints_what_is_done(graphc, monkeypatch):
    done = Result("call", "", 1, 1.0, outcomes={"graphc llvm": Outcome(Times(1.0, 1.0, 1.0, 1))})

    def interrupted(workload, plan, counts, say, spares):
        yield done
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measure", interrupted)
    monkeypatch.setattr(bench, "limits", lambda *_: None)
    ran = graphc("bench", "call", "--peers", "none", "--threads", "1")
    assert ran.status == 130
    assert "call" in ran.out


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_control_c_leaves_no_process_behind(tmp_path):
    command = [sys.executable, "-m", "graphc.cli", "bench", "matmul", "--peers", "numpy"]
    command += ["--threads", "1", "--quick"]
    marked = {**os.environ, "GRAPHC_TEST_MARK": str(tmp_path)}
    parent = subprocess.Popen(command, env=marked, stderr=subprocess.PIPE, text=True)
    for line in parent.stderr:
        if "take turns" in line:
            break
    assert len(_marked(tmp_path)) > 1
    parent.send_signal(signal.SIGINT)
    assert parent.wait(30) == 130
    parent.stderr.close()
    assert _soon(lambda: not _marked(tmp_path))


def _soon(condition):
    """Whether it holds within some seconds: signals are delivered when the system finds time."""
    end = time.monotonic() + 10
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return holds


def _marked(mark):
    """The processes whose environment has the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"GRAPHC_TEST_MARK={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # not ours, or gone
    return found


# Children -----------------------------------------------------------------------------------------
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_child_is_pinned_and_held_still_between_requests(tmp_path):
    with Child(1, str(tmp_path)) as worker:
        answer = worker.ask(
            "expect", workload="call", quick=True, file=str(tmp_path / "expected.npz"),
            right="graphc numpy",
        )  # fmt: skip
        assert answer == {"nodes": 7, "flops": 8, "bytes": 32, "wide": False}
        status = Path(f"/proc/{worker.process.pid}/status")
        assert _soon(lambda: "State:\tT (stopped)" in status.read_text())
        assert len(os.sched_getaffinity(worker.process.pid)) == 1
    assert worker.process.poll() is not None


def test_a_child_that_dies_is_a_failure_with_its_last_words(tmp_path):
    with Child(1, str(tmp_path)) as worker:
        worker.process.kill()
        assert "status -9" in worker.ask("limits", quick=True)["failed"]


def test_the_parents_own_processors_stay_what_they_were(tmp_path):
    before = children.processors()
    with Child(1, str(tmp_path)):
        assert children.processors() == before


def test_a_workload_without_right_results_is_a_failure(monkeypatch):
    unknown = replace(WORKLOADS["call"], name="nobody knows it")
    plan = Plan((unknown.name,), ("graphc llvm", "numpy"), (1,), 0.01, quick=True)
    (result,) = measure(unknown, plan, [1], lambda text: None, Spares())
    assert "nobody knows it" in result.outcomes["graphc llvm"].failed


# Arithmetic of results ----------------------------------------------------------------------------
def _times(median):
    return Times(median, median * 0.9, median * 1.1, 10)


def test_ratios_are_against_the_best_peer():
    outcomes = {
        "graphc llvm": Outcome(_times(2.0)),
        "torch": Outcome(_times(6.0)),
        "jax": Outcome(_times(5.0)),
        "numpy": Outcome(failed="result 0 differs by 1.0e-01 of its scale"),
    }
    result = Result("w", "", 1, 2.5, flops=100, bytes=10, outcomes=outcomes)
    assert result.best == "jax"
    assert result.ratio("graphc llvm") == pytest.approx(2.5)
    assert math.isnan(result.ratio("numpy"))
    assert outcomes["jax"].times.spread == pytest.approx(0.1)


def test_the_limit_is_the_dearer_of_arithmetic_and_traffic():
    limit = Roofline(100.0, 50.0, ((10, 8.0), (20, 4.0), (40, 2.0)))
    assert limit.bandwidth(1) == 8.0
    assert limit.bandwidth(20) == 4.0
    assert limit.bandwidth(39) == 4.0
    assert limit.bandwidth(1000) == 2.0
    assert limit.seconds(Result("w", "", 1, 1.0, flops=1000, bytes=10)) == 10.0
    assert limit.seconds(Result("w", "", 1, 1.0, flops=1000, bytes=10, wide=True)) == 20.0
    assert limit.seconds(Result("w", "", 1, 1.0, flops=10, bytes=100)) == 50.0
    better = limit.better(Roofline(90.0, 60.0, ((10, 9.0), (20, 3.0), (40, 2.0)), 7.0))
    assert better == Roofline(100.0, 60.0, ((10, 9.0), (20, 4.0), (40, 2.0)), 7.0)


def test_times_are_quartiles():
    assert Times.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Times(3.0, 2.0, 4.0, 5)


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(UserError, match="GC0501"):
        Run({}, {}, []).write(tmp_path / "nowhere" / "run.json")
