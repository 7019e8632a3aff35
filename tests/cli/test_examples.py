"""Every lesson runs and says what it is there to say."""

import runpy
import sys
from pathlib import Path

import pytest

from graphc.cli.target import find_target
from graphc.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "examples"
LESSONS = {
    "01_tensors": ["Nothing has been computed", "{'batch': 5}", "GC0101"],
    "02_gates": ["AND   4 of 4", "OR    4 of 4", "NAND  4 of 4", "XOR   2 of 4"],
    "03_xor": ["answers [0.   1.   0.99 0.  ]"],
    "04_chain_rule": ["1.0806     1.0806", "10.8016    10.8016", "gradients agree"],
    "05_logistic_regression": ["test digits right", "+"],
    "06_rewrites": ["nan", "log of ratio of exp", "-1.00031"],
    "07_kernels": ["kernel 0: matmul, erf, multiply", "reads its operand at other indices"],
    "09_letters": ["step 100"],
    "10_gpu": ["KERNEL(kernel_", "gc_sync();", "largest difference from NumPy's: "],
    "11_attention": ["cuda-sim: 4 kernels", "within 0.00001: True", "# scores by threads, 1 walk"],
}
SLOW = {"08_lenet"}
ARGUMENTS = {"09_letters": [str(FOLDER.parent / "LICENSE"), "100"], "08_lenet": ["1"]}


def output(name, tmp_path, monkeypatch, capsys) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, [])])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_says_what_it_should(name, tmp_path, monkeypatch, capsys):
    printed = output(name, tmp_path, monkeypatch, capsys)
    assert [said for said in LESSONS[name] if said not in printed] == []


@pytest.mark.slow
def test_lenet_learns(tmp_path, monkeypatch, capsys):
    printed = output("08_lenet", tmp_path, monkeypatch, capsys)
    assert float(printed.split("test accuracy ")[1].split("%")[0]) > 80


def test_no_lesson_is_left_out():
    numbered = {path.stem for path in FOLDER.glob("[0-9]*.py")}
    assert numbered == set(LESSONS) | SLOW


def test_the_wrong_program_is_wrong():
    with pytest.raises(UserError, match="GC0101"):
        find_target(f"{FOLDER / 'wrong.py'}:scores")
