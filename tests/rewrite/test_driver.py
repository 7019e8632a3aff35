"""The driver: sharing, order, fixpoints, provenance, the ledger, and rules that go wrong."""

import pytest

from graphc.errors import CompilerBug
from graphc.grad import gradients
from graphc.graph import Graph
from graphc.ops.elementwise import Cast, cast_to
from graphc.ops.leaves import Constant, Iota, Table, constant
from graphc.ops.movement import Reshape, Transpose
from graphc.rewrite import MERGED, Ledger, by_hand, rewrite, rule, variable
from graphc.scalars import cos, exp, log, sin, tanh
from graphc.site import scope
from graphc.types import FLOAT32, FLOAT64, INT64
from rewrite.values import leaf

x, y = variable("x"), variable("y")
LOG_OF_EXP = rule("log of exp", log(exp(x)), x, why="inverse")
ADD_ZERO = rule("add zero", x + 0, x, why="neutral")


def test_without_rules_equal_nodes_are_shared():
    a, b = leaf("a", (3,)), leaf("b", (3,))
    first, second = tanh(a * b) + 1, tanh(a * b) + 1
    graph = Graph((a, b), (first - second,))
    ledger = Ledger()
    (result,) = rewrite(graph, ledger=ledger).outputs
    assert result.inputs[0] is result.inputs[1]
    assert [r.rule for r in ledger] == [MERGED] * 5  # two constants, product, tanh, sum


def test_an_unchanged_graph_comes_back_node_by_node():
    a = leaf("a", (3,))
    graph = Graph((a,), (tanh(a),))
    assert rewrite(graph, [ADD_ZERO]).nodes == graph.nodes


def test_operand_order_counts():
    a, b = leaf("a", (3,)), leaf("b", (3,))
    graph = Graph((a, b), (a - b, b - a))
    assert len(set(rewrite(graph).outputs)) == 2


def test_attributes_and_signs_of_zero_are_not_confused():
    a = leaf("a", (3, 3))
    roots = (
        Transpose((0, 1))(a), Transpose((1, 0))(a), Cast(INT64)(a), Cast(FLOAT64)(a),
        Constant(0.0, FLOAT32)(), Constant(-0.0, FLOAT32)(), Constant(0.0, FLOAT64)(),
        Iota((3, 3), 0)(), Iota((3, 3), 1)(),
        Table.of([1.0], FLOAT32)(), Table.of([2.0], FLOAT32)(), Table.of([1.0], FLOAT64)(),
    )  # fmt: skip
    assert len(set(rewrite(Graph((a,), roots)).outputs)) == len(roots)


def test_equal_tables_and_nans_are_shared():
    pairs = [Table.of([1.0, 2.0], FLOAT32)() for _ in range(2)]
    nans = [constant(float("nan"), FLOAT32) for _ in range(2)]
    one, two, three, four = rewrite(Graph((), (*pairs, *nans))).outputs
    assert one is two
    assert three is four


def test_inputs_stay_even_if_they_look_alike():
    first, second = leaf("a", (3,)), leaf("a", (3,))
    result = rewrite(Graph((first, second), (first - second,)))
    assert result.inputs == (first, second)
    assert result.outputs[0].inputs == (first, second)


def test_rules_run_until_none_fires():
    a = leaf("a", (3,))
    deep = a
    for _ in range(10):
        deep = log(exp(deep + 0))
    assert rewrite(Graph((a,), (deep,)), [LOG_OF_EXP, ADD_ZERO]).outputs == (a,)


def test_what_a_rule_makes_is_rewritten_too():
    shorter = rule("sine", sin(x), log(exp(cos(x))), why="for the test")
    a = leaf("a", (3,))
    (result,) = rewrite(Graph((a,), (sin(a),)), [shorter, LOG_OF_EXP]).outputs
    assert str(result.op) == "cos"


def test_a_new_node_equal_to_an_old_one_is_the_old_one():
    a = leaf("a", (3,))
    swap = rule("sine", sin(x), cos(x), why="for the test")
    first, second = rewrite(Graph((a,), (cos(a), sin(a))), [swap]).outputs
    assert first is second


def test_updates_are_rewritten():
    from_ops = leaf("a", (3,))
    result = rewrite(Graph((from_ops,), (from_ops + 0,)), [ADD_ZERO])
    assert result.outputs == (from_ops,)


def test_provenance_is_inherited():
    a = leaf("a", (3,))
    with scope("part"):
        root = log(exp(tanh(a) + 0) * 2 + 1)
    split = rule("log of one plus", log(x + 1), tanh(sin(x)), why="for the test")
    ledger = Ledger()
    (result,) = rewrite(Graph((a,), (root,)), [split, ADD_ZERO], ledger).outputs
    made = [n for n in Graph((a,), (result,)) if n.site.made_by]
    assert [str(n.op) for n in made] == ["sin", "tanh"]
    for node in made:
        assert node.site.made_by == "log of one plus"
        assert (node.site.scope, node.site.line) == (("part",), root.site.line)
    assert all(n.site.scope == ("part",) for n in Graph((a,), (result,)) if n is not a)


def test_gradients_follow_the_forward_nodes():
    a = leaf("a", ())
    forward = tanh(exp(a + 0))
    (g,) = gradients(forward, [a])
    result = rewrite(Graph((a,), (forward, g)), [ADD_ZERO])
    nodes = set(result.nodes)
    served = {n.site.gradient_of for n in result} - {None}
    assert {str(n.op) for n in served} >= {"tanh", "exp"}
    assert {n for n in served if str(n.op) in ("tanh", "exp")} <= nodes


def test_the_ledger_is_exact():
    a = leaf("a", (3,))
    ledger = Ledger()
    graph = Graph((a,), (log(exp(a + 0)) * 2, (a + 0) * 2))
    rewrite(graph, [LOG_OF_EXP, ADD_ZERO], ledger, "test")
    assert [(r.step, r.rule, str(r.before.op)) for r in ledger] == [
        (1, "add zero", "add"),
        (2, "log of exp", "log"),
        (3, MERGED, "0"),
        (4, MERGED, "broadcast(shape=(3,), axes=())"),
        (5, MERGED, "add"),
        (6, MERGED, "2"),
        (7, MERGED, "broadcast(shape=(3,), axes=())"),
        (8, MERGED, "multiply"),
    ]
    first = ledger.records[0]
    assert (str(first.before.op), first.after) == ("add", a)
    assert first.site is first.before.site
    assert "add zero" in str(first)
    assert "test_driver.py" in str(first)


def test_the_table_counts_applications():
    a = leaf("a", (3,))
    ledger = Ledger()
    rewrite(Graph((a,), (log(exp(log(exp(a)))),)), [LOG_OF_EXP], ledger, "test")
    # the outer exp(log(exp(a))) becomes exp(a), which is there already, and so is its log
    assert ledger.counts() == {("test", "log of exp"): 1, ("test", MERGED): 2}
    assert ledger.table().splitlines()[1].split() == ["test", "log", "of", "exp", "1"]
    assert len(str(ledger).splitlines()) == len(ledger) == 3


def test_a_rule_that_changes_the_type_is_a_bug():
    @by_hand("narrow", type(tanh_of().op), why="planted")
    def narrow(node):
        return cast_to(node, INT64)

    with pytest.raises(CompilerBug, match="narrow"):
        rewrite(Graph((), (tanh_of(),)), [narrow])


def tanh_of():
    return tanh(Reshape((1,))(constant(1.0, FLOAT32)))


def test_rules_that_undo_each_other_are_a_bug():
    there = rule("there", sin(x), cos(x), why="planted")
    back = rule("back", cos(x), sin(x), why="planted")
    a = leaf("a", (3,))
    with pytest.raises(CompilerBug, match=r"undo each other.*back.*there"):
        rewrite(Graph((a,), (sin(a),)), [there, back])


@pytest.mark.parametrize(
    "endless",
    [
        rule("outer", sin(x), cos(sin(sin(x))), why="planted"),
        rule("inner", sin(x), sin(cos(x)), why="planted"),
    ],
    ids=lambda r: r.name,
)
def test_rules_that_never_end_are_a_bug(endless):
    a = leaf("a", (3,))
    with pytest.raises(CompilerBug, match=r"(never come to an end|undo).*" + endless.name):
        rewrite(Graph((a,), (sin(a),)), [endless])


@pytest.mark.slow
def test_deep_graphs_do_not_recurse():
    a = leaf("a", (2,))
    deep = a
    with scope("deep"):
        for _ in range(30_000):
            deep = log(exp(tanh(deep) + 0))
    result = rewrite(Graph((a,), (deep,)), [LOG_OF_EXP, ADD_ZERO])
    assert len(result) == 30_001
