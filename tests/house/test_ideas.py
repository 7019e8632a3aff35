"""One place per idea: op classes are known in ops/ alone, target text in backends/ alone."""

import ast
import re
from collections.abc import Iterator

from house.sources import Module, docstrings, imports, product

TARGET_PACKAGES = {"llvmlite", "cuda"}
TARGET_TEXT = re.compile(
    r"__(global|shared|device|syncthreads)\w*|threadIdx|blockIdx|getelementptr|#include"
    r"|\bdefine (internal|void|i32)\b|\b(fadd|fmul|fsub|fdiv) (fast |<|float|double)"
)


def core() -> Iterator[Module]:
    """The modules of graphc/ and frontends/: all that is no backend."""
    return (module for module in product() if not module.inside("backends"))


def op_classes() -> set[str]:
    """The names of all classes in ops/ that are an `Op`, directly or through another one."""
    nodes = [node for m in product() if m.inside("graphc/ops") for node in ast.walk(m.tree)]
    bases = {
        node.name: {ast.unparse(base).split(".")[-1].split("[")[0] for base in node.bases}
        for node in nodes
        if isinstance(node, ast.ClassDef)
    }
    found = {"Op"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found - {"Op"}


def own_classes(tree: ast.AST) -> set[str]:
    """The classes that a module defines itself; they may share a name with an op."""
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def names(node: ast.AST) -> set[str]:
    """The last parts of all names below `node`."""
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return found | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def classes_asked_for(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """Lines that ask what class a value has, with the classes named there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            yield node.lineno, names(node.args[1])
        elif isinstance(node, ast.MatchClass):
            yield node.cls.lineno, names(node.cls)
        elif isinstance(node, ast.Compare) and "type(" in ast.unparse(node):
            yield node.lineno, names(node)


def test_no_op_class_is_asked_for_outside_ops():
    classes = op_classes()
    wrong = [
        f"{module.file}:{line} asks for {', '.join(sorted(asked & classes))}"
        for module in product()
        if not module.inside("graphc/ops")
        for line, asked in classes_asked_for(module.tree)
        if asked & classes - own_classes(module.tree)
    ]
    assert not wrong


def test_the_question_for_a_class_is_seen_in_every_spelling():
    spellings = [
        "isinstance(op, Conv)",
        "isinstance(op, (ops.Conv, Sum))",
        "isinstance(op, Sum | Conv)",
        "type(op) is Conv",
        "match op:\n    case Conv(): pass",
    ]
    for spelling in spellings:
        assert any("Conv" in asked for _, asked in classes_asked_for(ast.parse(spelling)))


def test_no_target_package_is_imported_outside_backends():
    wrong = [
        f"{module.file}:{statement.lineno} imports {name}"
        for module in core()
        for statement, name in imports(module.tree)
        if name.split(".")[0] in TARGET_PACKAGES
    ]
    assert not wrong


def target_texts(module: Module) -> Iterator[ast.Constant]:
    """The strings of a module, without its docstrings, that are written in a target's language."""
    described = docstrings(module.tree)
    for node in ast.walk(module.tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in described and TARGET_TEXT.search(node.value):
            yield node


def test_no_target_text_is_written_outside_backends():
    wrong = [
        f"{module.file}:{node.lineno} {node.value.strip()[:60]!r}"
        for module in core()
        for node in target_texts(module)
    ]
    assert not wrong
