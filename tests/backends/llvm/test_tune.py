"""The optional pass "autotune": tiles that are listed, right, measured once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gc
from execute import interpreted
from graphc.backends import llvm
from graphc.backends.llvm import cache, trial, tune
from graphc.backends.llvm import code as kernel_code
from graphc.backends.llvm.choice import Choice, contraction_of, name_of, named, relatives, tile_of
from graphc.backends.llvm.code import Form, by_choice
from graphc.backends.llvm.executable import Listing
from graphc.backends.llvm.image import image_of
from graphc.backends.llvm.machine import Machine, host
from graphc.backends.llvm.machine import named as machine
from graphc.backends.llvm.packing import packed
from graphc.backends.llvm.tile import Contraction, Tile, extent_of, ranked
from graphc.cache import default
from graphc.errors import CompilerBug, UserError
from graphc.graph import Graph
from graphc.kernels.flat import collapse, flatten
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.ops.contraction import Contract, matmul
from graphc.ops.convolution import Convolve
from graphc.scalars import exp, tanh
from kernels.models import leaf

MACHINES = [machine("x86-64"), machine("haswell"), machine("skylake-avx512")]
GRAPHS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "matmul": (matmul, (13, 9), (9, 35)),
    "both turned": (Contract((1, 0), (2, 1), (0, 2)), (9, 50), (37, 9)),
    "turned result": (Contract((0, 1), (2, 1), (2, 0)), (19, 17), (33, 17)),
    "one row": (matmul, (1, 19), (19, 130)),
    "one column": (matmul, (43, 21), (21, 1)),
    "batched": (Contract((3, 0, 1), (1, 2, 3), (3, 0, 2)), (3, 7, 5), (5, 18, 3)),
    "two columns": (Contract((0, 1), (2, 1, 3), (0, 3, 2)), (7, 5), (6, 5, 21)),
    "convolution": (Convolve((1, 1), (1, 1)), (2, 1, 2, 5, 19), (1, 3, 2, 3, 3)),
    "strided": (Convolve((2, 2), (1, 1)), (1, 1, 2, 7, 21), (1, 3, 2, 3, 3)),
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of one's own, and nothing found before."""
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "compiler", lambda: "this one")
    monkeypatch.setattr(kernel_code, "_CODES", {})
    monkeypatch.setattr(tune, "_FOUND", {})
    return tmp_path


class Stopwatch:
    """Stands for `race`: the tile of a form decides how long it takes."""

    def __init__(self, seconds: Callable[[str], float] = lambda name: 1.0) -> None:
        self.seconds, self.seen = seconds, list[list[str]]()

    def __call__(self, forms: Sequence[Form]) -> list[float]:
        names = [form.choice.tile if form.choice else "" for form in forms]
        self.seen.append(names)
        return [self.seconds(name) for name in names]


def graph_of(name: str) -> Graph:
    op, *shapes = GRAPHS[name]
    inputs = tuple(leaf(f"x{k}", *shape) for k, shape in enumerate(shapes))
    return Graph(inputs, (tanh(op(*inputs)),))


def two_products() -> Program:
    """A product, and two alike that are larger."""
    shapes = [(8, 24), (24, 24), (50, 24), (24, 40), (50, 24), (24, 40)]
    x, y, z, a, w, b = inputs = tuple(leaf(f"x{k}", *shape) for k, shape in enumerate(shapes))
    return lower(Graph(inputs, (exp(matmul(x, y)), matmul(z, a), matmul(w, b))))


def forms_of(program: Program) -> list[Form]:
    return Listing(lambda: program).forms


def contraction(name: str) -> Contraction:
    (kernel,) = lower(graph_of(name)).kernels
    found = contraction_of(collapse(flatten(kernel)))
    assert found is not None
    return found


# The list -----------------------------------------------------------------------------------------
@pytest.mark.sweep
@pytest.mark.parametrize("processor", MACHINES[::2], ids=lambda m: m.cpu)
@pytest.mark.parametrize("name", GRAPHS)
def test_the_list_begins_with_the_cheapest_and_names_each_tile(name: str, processor: Machine):
    tiles = ranked(contraction(name), processor)
    assert [t.cycles for t in tiles] == sorted(t.cycles for t in tiles)
    names = {name_of(v): v for t in tiles for v in (t, *relatives(t))}
    for tile in names.values():
        found = named(tile.contraction, processor, name_of(tile))
        assert found is not None
        assert name_of(found) == name_of(tile)
    for tile in tiles:
        assert 1 <= tile.height <= extent_of(tile.row) or tile.mode == "streamed"
        assert 1 <= tile.width <= extent_of(tile.column)


def test_relatives_differ_in_panels_and_order_only():
    tile = ranked(contraction("matmul"), MACHINES[2])[0]
    found = [*relatives(tile)]
    assert len({name_of(t) for t in (tile, *found)}) == len(found) + 1 == 16
    assert {t.packs for t in found} == {(), ("first",), ("second",), ("first", "second")}
    same = {(t.row, t.height, t.column, t.width, t.lane, t.vectors) for t in (tile, *found)}
    assert len(same) == 1


def test_a_tile_that_is_not_listed_is_refused():
    (kernel,) = lower(graph_of("matmul")).kernels
    flat = collapse(flatten(kernel))
    assert tile_of(flat, MACHINES[0]) == ranked(contraction_of(flat), MACHINES[0])[0]  # type: ignore[arg-type]
    with pytest.raises(CompilerBug, match="no tile called"):
        tile_of(flat, MACHINES[0], wanted="columns rows 9x9 columns -x1 lanes 0x1")


@pytest.mark.sweep
@pytest.mark.parametrize("name", GRAPHS)
def test_every_candidate_is_right(name: str, rng: np.random.Generator, monkeypatch: Any):
    monkeypatch.setattr(tune, "SHAPES", 6)
    graph = graph_of(name)
    program = lower(graph)
    (form,) = forms_of(program)
    arrays = [rng.normal(size=x.shape).astype(np.float32) for x in graph.inputs]
    (wanted,) = interpreted(graph, arrays)
    watch = Stopwatch()
    tune.fastest(form, watch)
    tried = dict.fromkeys(each for names in watch.seen for each in names)
    chosen = [by_choice(form, Choice(each)) for each in tried]
    kernel_code.codes(chosen)  # all at once, by all cores
    for each in chosen:
        made = llvm.Executable(image_of(program, [each], []), [], Listing(lambda: program))
        (found,) = made.run(arrays)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=str(each.choice))


# Measuring ----------------------------------------------------------------------------------------
def test_the_fastest_is_taken_when_it_is_faster_by_more_than_chance():
    form = forms_of(lower(graph_of("matmul")))[0]
    plain = Stopwatch()
    assert tune.fastest(form, plain).tile == ""
    third = plain.seen[0][2]
    hardly = Stopwatch(lambda name: 0.99 if name == third else 1.0)
    choice = tune.fastest(form, hardly)
    assert (choice.tile, choice.gain) == ("", 1.0)
    quick = Stopwatch(lambda name: 0.5 if name == third else 1.0)
    choice = tune.fastest(form, quick)
    assert (choice.tile, choice.gain) == (third, 2.0)
    assert choice.tried == len({n for names in quick.seen for n in names})
    assert "2.00 times as fast" in by_choice(form, choice).text.splitlines()[0]


def test_panels_and_orders_are_tried_on_the_best_shape():
    form = forms_of(lower(graph_of("matmul")))[0]
    best = tune.candidates(form)[1]
    wanted = f"{name_of(best)} panels second"
    quick = {name_of(best): 0.8, wanted: 0.6}
    choice = tune.fastest(form, Stopwatch(lambda name: quick.get(name, 1.0)))
    assert (choice.tile, round(choice.gain, 3)) == (wanted, 1.667)


def test_each_kernel_is_measured_once_and_then_recalled(monkeypatch: pytest.MonkeyPatch):
    watch, forms = Stopwatch(lambda name: 0.5 if "order" in name else 1.0), forms_of(two_products())
    first = tune.tuned(forms, watch)
    assert len(watch.seen) == 2 * len({form.key for form in forms})
    assert tune.waiting(first) == []
    for _ in range(2):
        again = tune.tuned(forms, watch)
        assert [f.choice for f in again] == [f.choice for f in first]
        monkeypatch.setattr(tune, "_FOUND", {})  # the next one reads the disk
    assert len(watch.seen) == 2 * len({form.key for form in forms})


def test_what_takes_longest_comes_first():
    forms = forms_of(two_products())
    waiting = tune.waiting(forms)
    times = [tune.candidates(f)[0].cycles * sum(f.key == g.key for g in forms) for f in waiting]
    assert times == sorted(times, reverse=True)
    assert {f.key for f in waiting} == {f.key for f in forms}


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_choice_holds_for_a_number_of_threads(threads: str, monkeypatch: pytest.MonkeyPatch):
    forms, watch = forms_of(lower(graph_of("matmul"))), Stopwatch()
    monkeypatch.setenv("GRAPHC_THREADS", "1")
    tune.tuned(forms, Stopwatch())
    monkeypatch.setenv("GRAPHC_THREADS", threads)
    tune.tuned(forms, watch)
    assert bool(watch.seen) == (threads != "1")


@pytest.mark.parametrize("damage", ["bytes", "no tile", "no choice", "no number"])
def test_a_damaged_entry_is_ignored_and_said(
    damage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    forms = forms_of(lower(graph_of("matmul")))
    (first,) = tune.tuned(forms, Stopwatch(lambda name: 0.5 if name else 1.0))
    key = tune._key(forms[0])
    heads = {
        "no tile": ["columns rows 1x1 columns -x1 lanes 0x77", 2.0, 3],
        "no choice": 17,
        "no number": ["", float("nan"), 3],
    }
    if damage == "bytes":
        store = default()
        assert store is not None
        store.path(f"{host().fingerprint}\n{key}").write_bytes(b"nonsense")
    else:
        cache.put(key, packed(heads[damage], []))
    monkeypatch.setattr(tune, "_FOUND", {})
    watch = Stopwatch(lambda name: 0.5 if name else 1.0)
    assert tune.tuned(forms, watch)[0].choice == first.choice
    assert watch.seen
    assert "damaged" in caplog.text or "not what its name says" in caplog.text


def test_it_ends_when_the_time_is_up(caplog: pytest.LogCaptureFixture, monkeypatch: Any):
    monkeypatch.setenv("GRAPHC_TUNE_SECONDS", "1")
    forms, ticks = forms_of(two_products()), count()
    some = tune.tuned(forms, Stopwatch(), clock=lambda: float(next(ticks)))
    assert 0 < len(tune.waiting(some)) < len(tune.waiting(forms))
    assert "time is up" in caplog.text
    more = tune.tuned(forms, Stopwatch())
    assert tune.waiting(more) == []


def test_an_interrupt_keeps_what_was_found(caplog: pytest.LogCaptureFixture):
    forms, turns = forms_of(two_products()), count()

    def interrupted(forms: Sequence[Form]) -> list[float]:
        if next(turns) == 2:
            raise KeyboardInterrupt
        return [0.5 if form.choice else 1.0 for form in forms]

    some = tune.tuned(forms, interrupted)
    kept = {form.key for form in tune.waiting(some)}
    assert len(kept) == len(tune.waiting(forms)) - 1
    assert "stopped: 1 of" in caplog.text
    watch = Stopwatch()
    tune.tuned(forms, watch)
    assert len(watch.seen) == 2 * len(kept)


def test_a_budget_that_is_no_number(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRAPHC_TUNE_SECONDS", "soon")
    with pytest.raises(UserError, match="GRAPHC_TUNE_SECONDS"):
        tune.tuned([], Stopwatch())


# Trials -------------------------------------------------------------------------------------------
def test_turns_find_the_least_and_leave_out_who_is_far_off():
    calls = [0, 0, 0]

    def run(k: int) -> float:
        calls[k] += 1
        return [2.0, 1.0, 30.0][k] + 0.01 * (calls[k] % 5)

    ticks = count()
    best = trial.take_turns([partial(run, k) for k in range(3)], lambda: next(ticks) * 0.01)
    assert best == [2.0, 1.0, pytest.approx(30.04)]
    assert calls == [2 + 2 * trial.TURNS, 2 + 2 * trial.TURNS, 4]


def test_long_runs_have_few_turns():
    calls = [0]

    def run() -> float:
        calls[0] += 1
        return 5.0

    ticks = count()
    trial.take_turns([run], lambda: 10.0 * next(ticks))
    assert calls == [2 + 2 * trial.LEAST]


def test_a_race_runs_every_form_and_says_seconds():
    """Panels that several kernels share count by their share; views begin where they begin."""
    x, w = leaf("x", 40, 33), leaf("w", 50, 33)
    y = Contract((0, 1), (2, 1), (0, 2))(x, w)
    for form in forms_of(lower(Graph((x, w), (y, exp(y))))):
        best: Tile = tune.candidates(form)[0]
        others = [by_choice(form, Choice(name_of(t))) for t in relatives(best)][:2]
        seconds = trial.race([form, *others])
        assert len(seconds) == 3
        assert all(0 < s < 1 for s in seconds)


# By the user --------------------------------------------------------------------------------------
def compiled(**options: Any) -> Any:
    x, w = gc.input("x", (24, 24)), gc.input("w", (24, 40))
    return gc.compile([x, w], gc.tanh(x @ w), **options)


def test_compiling_with_autotune(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator):
    watch = Stopwatch(lambda name: 0.5 if name else 1.0)
    monkeypatch.setattr(llvm, "tuned", partial(tune.tuned, measure=watch))
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((24, 24), (24, 40))]
    (wanted,) = [compiled(backend="numpy")(*arrays)]
    first, usual, again = compiled(passes="autotune"), compiled(), compiled(passes=["autotune"])
    assert len(watch.seen) == 2
    assert "kernels" not in again.compiled.seconds  # recalled as a whole
    for f in (first, usual, again):
        np.testing.assert_allclose(f(*arrays), wanted, rtol=1e-4, atol=1e-5)
    assert "measured: 2.00 times as fast" in first.source("loops").splitlines()[0]
    assert again.source("loops") == first.source("loops")
    assert again.source("asm") == first.source("asm")
    assert "measured" not in usual.source("loops")


def test_a_program_that_is_half_tuned_goes_on_next_time(monkeypatch: pytest.MonkeyPatch):
    def interrupted(forms: Sequence[Form]) -> list[float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(llvm, "tuned", partial(tune.tuned, measure=interrupted))
    assert "measured" not in compiled(passes="autotune").source("loops")
    watch = Stopwatch()
    monkeypatch.setattr(llvm, "tuned", partial(tune.tuned, measure=watch))
    assert "measured: the fastest of" in compiled(passes="autotune").source("loops")
    assert watch.seen


@pytest.mark.parametrize(("backend", "passes"), [("numpy", "autotune"), ("llvm", ["autotunes"])])
def test_a_pass_that_a_backend_lacks_is_an_error(backend: str, passes: Any):
    with pytest.raises(UserError, match="has no optional pass"):
        compiled(backend=backend, passes=passes)
