"""A run of the benchmark that was stopped goes on, and doubtful results are measured again."""

import json

import pytest

from graphc.cli import bench
from graphc.cli.bench import order
from graphc.cli.bench.report import footnote, speed
from graphc.cli.bench.results import Outcome, Plan, Result, Roofline, Run, Times


def _result(name, threads=1, rates=(), failed=""):
    return Result(
        name, "", threads, 1.0, core_to_core=rates,
        outcomes={"graphc llvm": Outcome(None if failed else Times(1.0, 1.0, 1.0, 5), failed)},
    )  # fmt: skip


def _run(*results, workloads=("call", "softmax", "matmul-128-nn"), threads=(1, 2)):
    return Run({}, {}, [*results], Plan(workloads, ("graphc llvm",), threads, 1.0))


def test_a_run_lacks_what_is_missing_or_failed_before_what_is_doubtful():
    run = _run(
        _result("call"),
        _result("call", 2, (70.0, 17.0)),
        _result("softmax", 2, (70.0, 60.0)),
        _result("matmul-128-nn", failed="no time"),
    )
    missing = [("softmax", 1), ("matmul-128-nn", 1), ("matmul-128-nn", 2)]
    assert run.lacking(run.plan.workloads) == [*missing, ("call", 2)]
    assert run.lacking(["softmax"]) == [("softmax", 1)]


def test_the_result_of_the_nearer_cores_stays():
    run = _run(_result("call", 2, (20.0, 18.0)), _result("softmax", 2, (70.0, 70.0)))
    better, worse = _result("call", 2, (66.0, 60.0)), _result("call", 2, (17.0, 60.0))
    run.put(worse)
    assert [min(r.core_to_core) for r in run.on(2)] == [18.0, 70.0]
    run.put(better)
    assert run.on(2)[0] is better
    assert not run.lacking(["call", "softmax"])[2:]
    run.put(_result("matmul-128-nn", 2, failed="no time"))
    again = _result("matmul-128-nn", 2, (1.0,))
    run.put(again)
    assert run.on(2)[-1] is again, "a result is better than none"


def test_results_with_the_cores_apart_are_marked():
    run = _run(_result("softmax", 2, (70e9, 70e9)), _result("call", 2, (70e9, 17e9)))
    names = [row[0] for row in speed(run, run.on(2))[1]]
    assert names == ["softmax", "call †"]
    assert "at 17 GB/s, at best 70" in footnote(run, 2)
    assert footnote(run, 1) == ""
    slow = _run(_result("call", 2, (17e9, 17e9)))
    assert footnote(slow, 2) == "", "a machine whose cores are always apart is not in a bad state"
    slow.rooflines[2] = Roofline(1.0, 1.0, ((1, 1.0),), 70e9)
    assert footnote(slow, 2)


@pytest.fixture
def measured(monkeypatch):
    """What would be measured: pairs of a workload's name and a number of threads."""
    seen = []

    def noted(workload, plan, counts, say, spares):
        for threads in counts:
            seen.append((workload.name, threads))
            outcomes = {system: Outcome(Times(1.0, 1.0, 1.0, 5)) for system in plan.systems}
            rates = (70e9,) * (threads > 1)
            yield Result(workload.name, "", threads, 1.0, outcomes=outcomes, core_to_core=rates)

    monkeypatch.setattr(bench, "measure", noted)
    monkeypatch.setattr(bench, "limits", lambda *_: None)
    monkeypatch.setattr(order, "processors", lambda: [0, 1])
    return seen


def test_a_stopped_run_goes_on(graphc, measured, tmp_path):
    file = tmp_path / "run.json"
    names = ("call", "matmul-128-nn", "matmul-128-nt")
    asked = ("--peers", "numpy", "--threads", "1,2", "--seconds", "3")
    assert graphc("bench", *names, *asked, "--json", file).status == 0
    data = json.loads(file.read_text())
    for result in data["results"]:
        result["core_to_core"] = [70e9, 70e9] if result["threads"] == 2 else []
    data["results"][1]["core_to_core"][1] = 17e9
    del data["results"][3:5]
    file.write_text(json.dumps(data))
    measured.clear()
    ran = graphc("bench", "--resume", file)
    assert ran.status == 0
    assert measured == [("matmul-128-nn", 2), ("matmul-128-nt", 1), ("call", 2)]
    found = Run.read(file)
    assert [(r.workload, r.threads) for r in found.results] == [
        (w, n) for w in names for n in (1, 2)
    ]
    assert found.plan == Plan(names, ("graphc llvm", "numpy"), (1, 2), 3.0)
    measured.clear()
    assert graphc("bench", "--resume", file).status == 0
    assert not measured


def test_named_workloads_join_a_run(graphc, measured, tmp_path):
    file = tmp_path / "run.json"
    graphc("bench", "matmul-128-nn", "--peers", "none", "--threads", "1", "--json", file)
    measured.clear()
    other = tmp_path / "other.json"
    assert graphc("bench", "call", "--resume", file, "--json", other).status == 0
    assert measured == [("call", 1)]
    assert Run.read(other).plan.workloads == ("call", "matmul-128-nn")
    assert Run.read(file).plan.workloads == ("matmul-128-nn",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--peers", "none"], "--peers cannot be given"),
        (["--threads", "1"], "--threads cannot be given"),
        (["--quick"], "--quick cannot be given"),
    ],
)
def test_a_run_goes_on_as_it_was_begun(graphc, measured, tmp_path, words, said):
    file = tmp_path / "run.json"
    graphc("bench", "call", "--peers", "numpy", "--json", file)
    ran = graphc("bench", "--resume", file, *words)
    assert ran.status == 1
    assert said in ran.err


def test_numbers_of_two_machines_do_not_meet(graphc, measured, tmp_path):
    file = tmp_path / "run.json"
    graphc("bench", "call", "--peers", "numpy", "--json", file)
    data = json.loads(file.read_text())
    data["machine"]["processor"] = "abacus"
    file.write_text(json.dumps(data))
    said = graphc("bench", "--resume", file).err
    assert "processor was abacus" in said
    del data["plan"]
    file.write_text(json.dumps(data))
    assert "does not say how" in graphc("bench", "--resume", file).err


def test_control_c_before_the_first_result_leaves_the_file_as_it_was(graphc, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "limits", interrupted)
    (tmp_path / "run.json").write_text("kept")
    ran = graphc("bench", "call", "--peers", "none", "--json", tmp_path / "run.json")
    assert ran.status == 130
    assert (tmp_path / "run.json").read_text() == "kept"
    assert f"graphc bench --resume {tmp_path / 'run.json'}" not in ran.err
