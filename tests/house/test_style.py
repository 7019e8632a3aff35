"""Sizes, docstrings, and words that have no place in the product."""

import ast
import re

import pytest

from house.sources import FOLDERS, ROOT, docstrings, functions, product, suite, text_files

MAX_FILE = 400
MAX_FUNCTION = 40
ASSERTIONS = re.compile(r"assert|raises|check|verify|compare|expect|fail")

# Spelled in two halves, so that this file does not find itself.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", r"HA" + r"CK\b"]))
MACHINE = re.compile("|".join(["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/[a-z]", "/tm" + r"p/\w"]))


def test_files_are_short():
    long = [m.file for m in product() if m.text.count("\n") > MAX_FILE]
    assert not long


def test_functions_fit_on_a_screen():
    long = [
        f"{module.file}:{function.lineno} {function.name}"
        for module in product()
        for function in functions(module.tree)
        if function.end_lineno - function.lineno + 1 > MAX_FUNCTION
    ]
    assert not long


def test_modules_say_what_they_are_for():
    silent = [module.file for module in product() if not ast.get_docstring(module.tree)]
    assert not silent


def test_public_functions_and_classes_say_what_they_do():
    silent = [
        f"{module.file}:{node.lineno} {node.name}"
        for module in product()
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        if not node.name.startswith("_")
        if not ast.get_docstring(node)
    ]
    assert not silent


def test_every_folder_with_code_is_a_package():
    """A folder without `__init__.py` works in an editable install and is missing in the wheel."""
    folders = {file.parent for name in FOLDERS for file in (ROOT / name).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_nothing_is_left_to_do():
    found = [
        f"{module.file}:{number}"
        for module in product()
        for number, line in enumerate(module.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_no_path_of_a_machine_is_written_down():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not found


def test_no_exception_is_swallowed():
    silent = [
        f"{module.file}:{node.lineno}"
        for module in product()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        if node.type is None or (len(node.body) == 1 and isinstance(node.body[0], ast.Pass))
    ]
    assert not silent


def test_every_test_asserts_something():
    """Itself, or through a function of the tests that does."""
    texts = [
        (f"{module.file}:{function.lineno}", function.name, ast.unparse(function))
        for module in suite()
        for function in functions(module.tree)
    ]
    asserting = {name for _, name, text in texts if ASSERTIONS.search(text)}
    silent = [
        f"{place} {name}"
        for place, name, text in texts
        if name.startswith("test") and not asserting & set(re.findall(r"(\w+)\(", text))
    ]
    assert not silent


@pytest.mark.parametrize("banned", ["eval", "exec", "pickle", "marshal", "shelve"])
def test_no_code_comes_out_of_data(banned):
    """Neither a model file nor a cache entry may run code of its own."""
    found = [
        f"{module.file}:{node.lineno}"
        for module in product()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) == banned)
        or (isinstance(node, ast.alias) and node.name.split(".")[0] == banned)
    ]
    assert not found


def test_docstrings_are_recognised():
    tree = ast.parse('"""One."""\ndef f():\n    """Two."""\n    return "three"\n')
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    kept = [node.value for node in strings if id(node) not in docstrings(tree)]
    assert kept == ["three"]
