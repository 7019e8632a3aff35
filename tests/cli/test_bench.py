"""The benchmark of the speed floor: it runs, at tiny sizes, and its report is complete."""

import json

import pytest

from graphc.cli.bench.floor import Result
from graphc.cli.bench.timing import Budget, Times, measured


def test_every_kind_of_benchmark_runs(graphc, tmp_path):
    names = ("matmul", "chain", "overhead")
    ran = graphc("bench", *names, "--quick", "--json", tmp_path / "floor.json")
    assert ran.status == 0
    report = json.loads((tmp_path / "floor.json").read_text())
    assert {"processor", "numpy", "threads"} <= set(report["machine"])
    assert len(report["results"]) == 4
    assert all(r["median_seconds"] > 0 for r in report["results"])
    assert all(r["name"] in ran.out for r in report["results"])


@pytest.mark.slow
def test_compiling_and_lenet_run(graphc):
    ran = graphc("bench", "lenet", "compiling", "--quick")
    assert ran.status == 0
    assert "full cache" in ran.out


def test_an_unknown_benchmark_is_refused(graphc):
    assert graphc("bench", "golf").err.startswith("GC0503")


def test_ratios_and_floors():
    fast, slow = Times((0.9, 1.0, 1.1)), Times((4.0, 5.0, 6.0))
    assert Result("r", fast, 5.0, slow).ratio == pytest.approx(5.0)
    assert Result("r", fast, 5.0, slow).holds
    assert not Result("r", fast, 5.1, slow).holds
    assert Result("r", fast, 1.0).holds
    assert not Result("r", slow, 1.0).holds
    assert fast.spread == pytest.approx(0.05)


def test_functions_take_turns_apart_from_each_other(tmp_path):
    log = tmp_path / "log"

    def called(name):
        with log.open("a") as file:  # a turn may run in a process of its own
            file.write(name)

    functions = {name: lambda name=name: called(name) for name in "ab"}
    times = measured(functions, Budget(0.0))
    assert log.read_text() == "aaabbb" * 5
    assert {name: len(t.samples) for name, t in times.items()} == {"a": 5, "b": 5}


def test_a_turn_that_fails_is_no_measurement():
    with pytest.raises((EOFError, ZeroDivisionError)):
        measured({"a": lambda: 1 / 0}, Budget(0.0))

