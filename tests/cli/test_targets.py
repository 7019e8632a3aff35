"""FILE.py:NAME: what a name may stand for, and what is said when it stands for nothing."""

import pytest

from graphc.cli.target import find_target
from graphc.errors import UserError


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "updates"),
    [
        ("loss", ["x"], 1, 0),
        ("both", ["x"], 2, 0),
        ("step", ["x"], 1, 1),
        ("model", ["x"], 1, 0),
        ("traced", ["a"], 1, 0),
    ],
)
def test_names_of_graphs(file, name, inputs, outputs, updates):
    graph = find_target(f"{file}:{name}").graph
    assert [x.name for x in graph.inputs] == inputs
    assert (len(graph.outputs), len(graph.updates)) == (outputs, updates)


def test_arguments_take_the_types_that_are_declared(file):
    graph = find_target(f"{file}:untyped", {"a": "f64[2,n]", "b": "f64[n]"}).graph
    assert [str(x.type) for x in graph.inputs] == ["f64[2,n]", "f64[n]"]


def test_symbols_are_the_named_sizes(file):
    assert find_target(f"{file}:loss").symbols == ["batch"]
    assert find_target(f"{file}:model").symbols == ["n"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{file}", "names no target"),
        ("missing.py:loss", "no file"),
        ("{file}:los", "has no 'los'"),
        ("{file}:number", "is a int"),
        ("{file}:untyped", "has no type"),
        ("{file}:np", "is a module"),
        (":loss", "names no target"),
    ],
)
def test_targets_that_are_none(file, spec, said):
    with pytest.raises(UserError, match="GC0503") as caught:
        find_target(spec.format(file=file))
    assert said in str(caught.value)


def test_the_names_that_would_do_are_listed(file):
    with pytest.raises(UserError, match="use one of x, w, h, loss, step"):
        find_target(f"{file}:los")


def test_a_file_that_does_not_run_is_quoted(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("a = 1\nb = a / 0\n")
    with pytest.raises(UserError, match="ZeroDivisionError") as caught:
        find_target(f"{path}:b")
    assert f"{path}:2\n    b = a / 0" in str(caught.value)


def test_an_error_of_graphc_in_the_file_keeps_its_code(tmp_path):
    path = tmp_path / "clash.py"
    path.write_text('import graphc as gc\ny = gc.input("a", (2,)) + gc.input("b", (3,))\n')
    with pytest.raises(UserError, match="GC0101"):
        find_target(f"{path}:y")


def test_a_file_may_import_its_neighbours_and_have_a_known_name(tmp_path):
    (tmp_path / "neighbour_of_json.py").write_text("width = 5\n")
    path = tmp_path / "json.py"
    path.write_text(
        "import graphc as gc\nfrom neighbour_of_json import width\n"
        'loss = gc.input("x", (width,)).sum()\n'
    )
    assert str(find_target(f"{path}:loss").graph.inputs[0].type) == "f32[5]"
