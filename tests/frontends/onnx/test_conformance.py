"""ONNX's conformance suite on both backends; what is skipped is counted, and says why."""

from collections import Counter

import numpy as np
import pytest
from onnx.backend.test.runner import Runner

from conformance import cases, skipped
from graphc.errors import UserError
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.onnx.backend import Backend, Oracle

pytestmark = pytest.mark.outside

BACKENDS = {"llvm": Backend, "numpy": Oracle}
RUNNING = [name for name in cases() if name not in skipped()]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RUNNING)
def test_case(name, backend):
    case = cases()[name]
    prepared = BACKENDS[backend].prepare(case.model)
    for inputs, wanted in case.data_sets:
        Runner.assert_similar_outputs(wanted, prepared.run(list(inputs)), **case.tolerance)


INCOMPARABLE = [name for name, reason in skipped().items() if reason.startswith("runs:")]


@pytest.mark.parametrize("name", [n for n in skipped() if n not in INCOMPARABLE])
def test_skipped_cases_are_refused_with_a_clear_error(name):
    case = cases()[name]
    with pytest.raises(UserError):
        Oracle.prepare(case.model).run(list(case.data_sets[0][0]))


@pytest.mark.parametrize("name", INCOMPARABLE)
def test_incomparable_cases_give_results_of_the_wanted_types(name):
    case = cases()[name]
    inputs, wanted = case.data_sets[0]
    found = flatten(list(Oracle.prepare(case.model).run(list(inputs))))[0]
    targets = map(np.asarray, flatten(list(wanted))[0])
    assert [(y.shape, y.dtype) for y in found] == [(y.shape, y.dtype) for y in targets]


def test_the_bars_hold(capsys):
    total, core = Counter(), Counter()
    for name, case in cases().items():
        runs = name not in skipped()
        total[case.kind, runs] += 1
        core[runs] += case.is_core
    shares = {
        kind: total[kind, True] / (total[kind, True] + total[kind, False]) for kind, _ in total
    }
    with capsys.disabled():
        print(f"\nONNX conformance: core {core[True]} of {core.total()}", end="")
        for kind in shares:
            print(
                f", {kind} {total[kind, True]} of {total[kind, True] + total[kind, False]}", end=""
            )
        print(f"; {len(skipped())} skipped for {len(set(skipped().values()))} reasons")
    assert core[True] >= 0.97 * core.total()
    assert shares["node"] >= 0.85
    left_out = [n for n in skipped() if cases()[n].kind != "node" and cases()[n].is_simple]
    assert left_out == []
