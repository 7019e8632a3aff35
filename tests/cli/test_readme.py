"""The README shows what the program prints today."""

import importlib.util
import platform
import re
from pathlib import Path

import pytest

import graphc as gc

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def maker(monkeypatch):
    """docs/make_readme.py as a module."""
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("make_readme", ROOT / "docs" / "make_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_output_is_current(maker):
    """LLVM and assembly may differ from one LLVM to the next; loops, on another architecture."""
    skipped = maker.MEASURED | {"llvm", "asm"}
    if platform.machine() not in ("x86_64", "AMD64"):
        skipped = skipped | maker.NATIVE
    assert maker.outdated(README, skipped) == [], "run python docs/make_readme.py"


def test_the_picture_is_current(maker, tmp_path):
    old = maker.PICTURE.read_text("utf-8")
    maker.PICTURE = tmp_path / "new.svg"
    maker.draw()
    assert maker.PICTURE.read_text("utf-8") == old, "run python docs/make_readme.py"


def test_blocks_are_all_there_and_machines_are_not_named(maker):
    assert {m[2] for m in maker.BLOCK.finditer(README)} == set(maker.BLOCKS)
    assert str(ROOT) not in README


def test_the_example_of_derivatives_runs():
    blocks = [b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "gc.jvp" in b]
    assert len(blocks) == 1
    exec(blocks[0], {"gc": gc})


def test_an_old_block_is_noticed(maker):
    changed = README.replace("matmul(x, w1)", "matmul(x, w2)", 1)
    assert maker.outdated(changed, set(maker.BLOCKS) - {"graph"}) == ["graph"]


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = [a or b for a, b in targets if "://" not in a + b]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []
