"""Programs kept on disk: the same results, everything still to be seen, nothing trusted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from graphc.backends import llvm
from graphc.backends.llvm import cache
from graphc.backends.llvm import code as kernel_code
from graphc.backends.llvm import image as images
from graphc.backends.llvm.packing import packed, unpacked
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.graph import Graph
from graphc.kernels.lower import lower
from graphc.ops.contraction import matmul
from graphc.ops.indexing import Take
from graphc.ops.leaves import Input, Parameter, Storage, Table
from graphc.ops.movement import broadcast_to
from graphc.ops.reduction import sum_over
from graphc.scalars import tanh
from graphc.types import FLOAT32, INT64, TensorType

X = np.linspace(-1, 1, 48, dtype=np.float32).reshape(6, 8)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of one's own; and a compiler of which nobody says that it changed just now."""
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "compiler", lambda: "this one")
    monkeypatch.setattr(kernel_code, "_CODES", {})
    return tmp_path


def step(start: float = 0.25) -> Graph:
    """A layer that learns: an input, two parameters, a table, and updates."""
    x = Input("x", TensorType(FLOAT32, (6, 8)))()
    w = Parameter("w", TensorType(FLOAT32, (8, 8)), Storage(np.full((8, 8), start), FLOAT32))()
    b = Parameter("b", TensorType(FLOAT32, (8,)), Storage(np.zeros(8), FLOAT32))()
    mask = Table.of(np.arange(48).reshape(6, 8) % 3, FLOAT32)()
    h = tanh(matmul(x, w) + broadcast_to(b, (6, 8))) * mask
    return Graph((x,), (sum_over(h, (0, 1)), h), ((w, w * 0.5), (b, b + sum_over(h, (0,)))))


def trained(graph: Graph, run: Executable) -> list[np.ndarray]:
    found = [*run(X), *run(X)]
    return [*found, *(t.op.storage.array.copy() for t, _ in graph.updates)]


def is_recalled(run: Executable) -> bool:
    return "kernels" not in run.compiled.seconds


def test_a_known_graph_gives_the_same_without_being_compiled():
    first, second = step(), step()
    made, found = Executable(first), Executable(second)
    assert not is_recalled(made)
    assert is_recalled(found)
    for a, b in zip(trained(first, made), trained(second, found), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_keep_their_own_values():
    Executable(step(0.25))
    graph = step(2.0)
    run = Executable(graph)
    assert is_recalled(run)
    oracle = step(2.0)
    for a, b in zip(trained(graph, run), trained(oracle, Executable(oracle, "numpy")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_nobody_needed_is_made_when_asked_for():
    made, found = Executable(step()), Executable(step())
    for level in ("graph", "optimised", "kernels", "fusion", "loops", "llvm", "asm"):
        assert found.source(level) == made.source(level)
    assert len(found.ledger) == len(made.ledger)
    assert [n for n, _ in found.profile(X, repeats=1)] == [n for n, _ in made.profile(X, repeats=1)]
    assert len(found.kernels) == len(made.kernels)


def test_a_fault_names_the_line_of_this_graph():
    def lookup() -> Graph:
        x = Input("x", TensorType(FLOAT32, (5, 6)))()
        i = Input("i", TensorType(INT64, (9,)))()
        return Graph((x, i), (Take(0)(x, i),))

    Executable(lookup())
    found = Executable(lookup())
    assert is_recalled(found)
    with pytest.raises(UserError) as caught:
        found(np.zeros((5, 6), np.float32), np.full(9, 7))
    assert caught.value.code == "GC0306"
    assert Path(__file__).name in caught.value.where


def test_who_watches_sees_every_stage():
    Executable(step())
    seen: list[str] = []
    Executable(step(), watch=lambda name, _: seen.append(name))
    assert {"graph", "optimised", "kernels", "executable"} <= set(seen)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.object"))


def test_equal_graphs_have_one_entry(folder: Path):
    Executable(step())
    before = entries(folder)
    Executable(step(3.0))
    assert entries(folder) == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped", "garbage"])
def test_damaged_entries_are_refused(folder: Path, damage: str):
    graph = step()
    wanted = trained(graph, Executable(graph))
    whole = {path: path.read_bytes() for path in entries(folder)}
    for path, data in whole.items():
        broken = {
            "cut": data[:-40],
            "flipped": data[:-1] + bytes([data[-1] ^ 1]),
            "swapped": next(d for p, d in whole.items() if p != path),
            "garbage": b"\x7fELF" * 1000,
        }
        path.write_bytes(broken[damage])
    kernel_code._CODES.clear()
    again = step()
    run = Executable(again)
    assert not is_recalled(run)
    for a, b in zip(wanted, trained(again, run), strict=True):
        np.testing.assert_array_equal(a, b)


def kept(graph: Graph) -> images.Image:
    program = lower(graph)
    listing = llvm.executable.Listing(lambda: program)
    return images.image_of(program, listing.forms, images.leaves(graph))


def test_an_image_comes_back_whole():
    made = kept(step())
    found = images.read(images.write(made))
    plain = dataclasses.replace
    assert plain(found, constants=()) == plain(made, constants=())
    for a, b in zip(found.constants, made.constants, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def hostile(change: str) -> bytes:
    """An image whose digest would be right: only its contents are wrong."""
    head, parts = unpacked(images.write(kept(step())))
    if change == "a slot that is not there":
        head["steps"][0][1][0] = 1 << 40
    elif change == "a code that is not there":
        head["steps"][0][0] = -1
    elif change == "a phase that is not there":
        head["steps"][0][2] = [99]
    elif change == "a place outside the arena":
        head["slots"][0] = ["arena", 1 << 40, 0]
    elif change == "a kind that is none":
        head["slots"][0] = ["stack", 0, 0]
    elif change == "a type that is none":
        head["inputs"][0] = ["float99", 3]
    elif change == "no head":
        head = 7
    elif change == "a field less":
        del head["slots"]
    elif change == "one part less":
        parts = parts[:-1]
    return packed(head, parts)


@pytest.mark.parametrize(
    "change",
    [
        "a slot that is not there", "a code that is not there", "a phase that is not there",
        "a place outside the arena", "a kind that is none", "a type that is none", "no head",
        "a field less", "one part less",
    ],
)  # fmt: skip
def test_contents_are_checked_before_they_are_used(change: str):
    with pytest.raises(ValueError, match=r"\S"):
        images.read(hostile(change))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 7, b"\xff" * 64, b"\xff" * 7 + b"\0{}", b"\2" + b"\0" * 7 + b"[]"],
    ids=len,
)
def test_strings_that_are_no_entries(data: bytes):
    for read in (images.read, kernel_code.read):
        with pytest.raises(ValueError, match=r"\S"):
            read(data)


def test_equal_kernels_are_scheduled_once(monkeypatch: pytest.MonkeyPatch):
    def layers(count: int) -> Graph:
        x = Input("x", TensorType(FLOAT32, (8, 8)))()
        h = x
        for k in range(count):
            w = Parameter(f"w{k}", TensorType(FLOAT32, (8, 8)), Storage(np.eye(8), FLOAT32))()
            h = tanh(matmul(h, w))
        return Graph((x,), (h,))

    scheduled: list[object] = []
    plain = kernel_code.schedule
    monkeypatch.setattr(
        kernel_code, "schedule", lambda *given: scheduled.append(given) or plain(*given)
    )
    llvm.build(lower(layers(40)))
    assert 1 <= len(scheduled) <= 4
    scheduled.clear()
    llvm.build(lower(layers(80)))
    assert not scheduled


def test_other_machines_have_other_code(monkeypatch: pytest.MonkeyPatch):
    program = lower(step())
    ours = {form.key for form in llvm.executable.Listing(lambda: program).forms}
    monkeypatch.setenv("GRAPHC_CPU", "x86-64-v3")
    theirs = {form.key for form in llvm.executable.Listing(lambda: program).forms}
    assert ours.isdisjoint(theirs)
    assert len(ours) == len(theirs)
