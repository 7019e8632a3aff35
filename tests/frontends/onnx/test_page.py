"""docs/onnx.md: its programs run, one after another, and so do its commands."""

import re
from pathlib import Path

import pytest

from graphc.cli import main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "onnx.md"
BLOCK = re.compile(r"```(python|console)\n(.*?)```", re.DOTALL)


def test_what_the_page_says_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, text in BLOCK.findall(PAGE.read_text("utf-8")):
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
        else:
            for command in text.splitlines():
                assert main(command.split()[1:]) == 0
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"model.onnx", "backward.onnx", "tuned.safetensors", "tuned.onnx"}
