"""docs/cuda.md shows what the program prints today."""

import importlib.util
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cuda.md").read_text("utf-8")


@pytest.fixture
def maker(monkeypatch):
    """docs/make_cuda.py as a module."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    spec = importlib.util.spec_from_file_location("make_cuda", ROOT / "docs" / "make_cuda.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_listing_is_current(maker):
    assert maker.outdated(PAGE) == [], "run python docs/make_cuda.py"


def test_blocks_are_all_there(maker):
    blocks = {m[2]: m[3] for m in maker.BLOCK.finditer(PAGE)}
    assert set(blocks) == set(maker.BLOCKS)
    assert all(text.strip() for text in blocks.values())
    assert "data race" in blocks["race"]
    assert str(ROOT) not in PAGE


def test_a_kernel_without_a_barrier_is_wrong(maker):
    assert maker.differences(None, 1) < 1e-5
    assert not maker.differences(0, 1) < 1e-5
    assert math.isnan(float(re.search(r"reversed \| \S+ \| (\S+)", PAGE)[1]))


def test_links_and_files_are_there():
    targets = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []
    files = re.findall(r"`(backends/cuda/\w+(?:\.\w+|/))`", PAGE)
    assert len(files) > 8
    assert [file for file in files if not (ROOT / file).exists()] == []
