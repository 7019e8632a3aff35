"""Every scalar function and cast in every dtype, as CUDA C, against NumPy."""

import numpy as np
import pytest

from graphc.backends.cuda import library_of
from graphc.backends.cuda.executable import Executable, forms
from graphc.backends.cuda.sim import device
from graphc.backends.cuda.spelling import SPELLING
from graphc.graph import Graph
from graphc.kernels.lower import lower
from graphc.ops.elementwise import Cast
from graphc.ops.leaves import Input
from graphc.scalars import SCALARS
from graphc.types import DTYPES, TensorType
from special import ALL, CASES, FLOATS, INTEGERS, ROUNDED, bits, distance, fits, operands, values


def compiled(graphs):
    """What runs each graph; their kernels are compiled together."""
    programs = [lower(g) for g in graphs]
    made = [forms(p.kernels, device().limits) for p in programs]
    device().load([p.unit for fs in made for f in fs for p in f.phases])
    found = zip(graphs, programs, made, strict=True)
    return [Executable(p, device(), library_of(g, device()), fs) for g, p, fs in found]


def leaf(name, array):
    return Input(name, TensorType(DTYPES[array.dtype.name], array.shape))()


@pytest.fixture(scope="module")
def functions():
    """Results of every function in every dtype."""
    rng = np.random.default_rng(0)
    given = {case: operands(*case, rng) for case in CASES}
    graphs = []
    for (name, _), arrays in given.items():
        inputs = [leaf(f"x{k}", a) for k, a in enumerate(arrays)]
        graphs.append(Graph(tuple(inputs), (SCALARS[name](*inputs),)))
    runs = zip(CASES, compiled(graphs), strict=True)
    return {case: (given[case], run.run(given[case])[0]) for case, run in runs}


def test_the_table_is_complete():
    assert set(SCALARS) == set(SPELLING)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_function_is_numpys(functions, name, dtype):
    arrays, got = functions[name, dtype]
    with np.errstate(all="ignore"):
        expected = np.asarray(SCALARS[name].numpy(*arrays))
    assert expected.dtype == got.dtype
    if name not in ROUNDED.split() or dtype not in FLOATS:
        np.testing.assert_array_equal(got, expected)
        if name not in ("minimum", "maximum", "relu"):  # of two zeros NumPy returns either
            number = ~np.isnan(got) if dtype in FLOATS else ...
            np.testing.assert_array_equal(
                np.signbit(got[number] * 1), np.signbit(expected[number] * 1)
            )
    else:
        assert distance(got, expected).max() <= 8


@pytest.fixture(scope="module")
def casts():
    """Every dtype in every other."""
    rng = np.random.default_rng(0)
    given = {source: values(source, rng) for source in ALL}
    pairs = [(source, target) for source in ALL for target in ALL if source != target]
    graphs = []
    for source, target in pairs:
        x = leaf("x", given[source])
        graphs.append(Graph((x,), (Cast(DTYPES[target])(x),)))
    runs = zip(pairs, compiled(graphs), strict=True)
    return {pair: (given[pair[0]], run.run([given[pair[0]]])[0]) for pair, run in runs}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ALL)
@pytest.mark.parametrize("source", ALL)
def test_casts_are_numpys(casts, source, target):
    if source == target:
        return
    array, got = casts[source, target]
    if DTYPES[source].is_float and target in INTEGERS:
        defined, limits = fits(array, target), np.iinfo(target)
        assert (got[np.isnan(array)] == 0).all()
        assert (got[~defined & (array > 0)] == limits.max).all()
        assert (got[~defined & (array < 0)] == limits.min).all()
        np.testing.assert_array_equal(got[defined], array[defined].astype(target))
    else:
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(bits(got), bits(array.astype(DTYPES[target].numpy)))
