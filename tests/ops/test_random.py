"""Random numbers: the generator's known answers, and the distributions' shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from evaluate import Points, evaluate
from graphc.backends.interpreter import Interpreter
from graphc.expr import Apply, Buffer, Iter, walk
from graphc.graph import Array, Graph, Node
from graphc.kernels.trace import Tracer
from graphc.ops import random
from graphc.ops.leaves import Input
from graphc.types import DTYPES, FLOAT32, FLOAT64, UINT32, DType, TensorType

MANY = 200_000
each = pytest.mark.parametrize

# The test vectors published with Random123 (Salmon et al.), ten rounds.
KNOWN = [
    ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[np.uint64]:
    return [np.uint64(int(word, 16)) for word in text.split()]


def state_node() -> Node:
    return Input("state", TensorType(UINT32, (4,)))()


def draw(build: Callable[[Node], Node], seed: int = 1, step: int = 0) -> Array:
    state = state_node()
    values = np.array([seed, 2, step, 0], np.uint32)
    return Interpreter(Graph((state,), (build(state),))).run([values])[0]


@each(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str):
    assert [int(w) for w in random.philox(words(counter), words(key))] == [
        int(w) for w in words(answer)
    ]


@each(("counter", "key", "answer"), KNOWN[::2])
def test_the_scalar_expression_gives_them_too(counter: str, key: str, answer: str):
    """Element, step, stream and the seed are the counter and the key of a published vector."""
    low, step, stream, high = (int(w) for w in words(counter))
    element = (high << 32) | low
    state, row = state_node(), Iter(element + 1)
    buffer = Buffer(state.type)
    seed = [int(w) for w in words(key)]
    point = Points({row: np.array([element])}, 1, {buffer: np.array([*seed, step, 0], np.uint32)})
    for word, wanted in enumerate(words(answer)):
        bits = random.RandomBits((element + 1,), stream, word)(state)
        value = Tracer({state: buffer}).definition(bits, (row,))
        assert evaluate(value, point)[0] == wanted


def test_elements_beyond_32_bits_count_on_in_the_last_word():
    state = state_node()
    short = random.RandomBits((2**16, 2**16), 0, 0)(state)
    long = random.RandomBits((2**17, 2**16), 0, 0)(state)
    shifts = []
    for node in (short, long):
        value = Tracer({state: Buffer(state.type)}).definition(node, tuple(map(Iter, node.shape)))
        functions = [e.function for e in walk(value) if isinstance(e, Apply)]
        shifts.append(functions.count("bitwise_right_shift"))
    assert shifts == [0, 1]


def test_seeds_steps_streams_and_words_are_independent():
    base = draw(lambda s: random.RandomBits((MANY,), 0, 0)(s))
    others = [
        draw(lambda s: random.RandomBits((MANY,), 0, 0)(s), seed=3),
        draw(lambda s: random.RandomBits((MANY,), 0, 0)(s), step=1),
        draw(lambda s: random.RandomBits((MANY,), 1, 0)(s)),
        draw(lambda s: random.RandomBits((MANY,), 0, 1)(s)),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / math.sqrt(MANY)
        assert (base == other).mean() < 1e-4
    again = draw(lambda s: random.RandomBits((100, MANY // 100), 0, 0)(s))
    np.testing.assert_array_equal(base, again.ravel())


def distance(sample: Array, distribution: Callable[[Array], Array]) -> float:
    """The Kolmogorov-Smirnov statistic, scaled so that 1.95 is the 0.1 % level."""
    ordered = np.sort(sample.astype(np.float64))
    n = ordered.size
    wanted = distribution(ordered)
    above = np.arange(1, n + 1) / n - wanted
    below = wanted - np.arange(n) / n
    return float(max(above.max(), below.max()) * math.sqrt(n))


def normal_distribution(x: Array) -> Array:
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@each("dtype", [FLOAT32, FLOAT64], ids=str)
def test_uniform(dtype: DType):
    x = draw(lambda s: random.uniform(s, (MANY,), 3, dtype))
    assert x.dtype == dtype.numpy
    assert x.min() >= 0
    assert x.max() < 1
    assert distance(x, lambda v: v) < 1.95
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 5 / math.sqrt(MANY)


def test_uniform_half_never_reaches_one():
    x = draw(lambda s: random.uniform(s, (MANY,), 3, DTYPES["float16"]))
    assert x.max() == 1 - 2.0**-11
    assert abs(x.astype(float).mean() - 0.5) < 5 / math.sqrt(12 * MANY)


@each("dtype", [FLOAT32, FLOAT64], ids=str)
def test_normal(dtype: DType):
    x = draw(lambda s: random.normal(s, (MANY,), 3, dtype)).astype(np.float64)
    assert distance(x, normal_distribution) < 1.95
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 5 * math.sqrt(spread / MANY)
    for bound in (2, 3, 4):
        tail = math.erfc(bound / math.sqrt(2))
        assert abs((abs(x) > bound).sum() - tail * MANY) < 5 * math.sqrt(tail * MANY) + 1
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 5 / math.sqrt(MANY)


@each(("dtype", "ulps"), [(FLOAT32, 4), (FLOAT64, 4)], ids=str)
def test_logarithm_and_cosine_are_accurate(dtype: DType, ulps: int):
    x = Input("x", TensorType(dtype, (MANY,)))()
    rng = np.random.default_rng(0)
    u = np.exp2(-rng.uniform(0, 33, MANY)).astype(dtype.numpy)
    turn = rng.uniform(0, 1, MANY).astype(dtype.numpy)
    log = Interpreter(Graph((x,), (random._log(x),))).run([u])[0]
    cos = Interpreter(Graph((x,), (random._cos_turn(x),))).run([turn])[0]
    step = np.finfo(dtype.numpy).eps
    exact = np.log(u.astype(np.longdouble))
    assert (abs(log - exact) <= ulps * step * abs(exact) + 1e-30).all()
    assert abs(cos - np.cos(2 * np.pi * turn.astype(np.longdouble))).max() <= ulps * step


def test_the_largest_and_smallest_words_give_finite_numbers():
    for word in (0, 1, 2**31, 2**32 - 1):
        bits = np.array([word], np.uint32)
        u = bits.astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
        x = Input("u", TensorType(FLOAT32, (1,)))()
        log = Interpreter(Graph((x,), (random._log(x),))).run([u])[0]
        assert -23.0 < log[0] <= 0


def test_bernoulli():
    x = draw(lambda s: random.bernoulli(s, (MANY,), 2, 0.3))
    assert x.dtype == bool
    assert abs(x.mean() - 0.3) < 5 * math.sqrt(0.21 / MANY)
    assert not draw(lambda s: random.bernoulli(s, (99,), 2, 0.0)).any()
    assert draw(lambda s: random.bernoulli(s, (99,), 2, 1.0)).all()
