"""Every scalar function and cast in every dtype, as CUDA C, against NumPy."""

import numpy as np
import pytest

from graphc.backends.cuda import library_of
from graphc.backends.cuda.code import forms
from graphc.backends.cuda.executable import Executable
from graphc.backends.cuda.sim import device
from graphc.backends.cuda.spelling import SPELLING
from graphc.graph import Graph
from graphc.kernels.lower import lower
from graphc.ops.elementwise import Cast
from graphc.ops.leaves import Input
from graphc.scalars import SCALARS
from graphc.types import DTYPES, TensorType
from special import ALL, CASES, check_cast, check_function, operands, values


def compiled(graphs):
    """What runs each graph; their kernels are compiled together."""
    programs = [lower(g) for g in graphs]
    made = [forms(p, device().limits) for p in programs]
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
    check_function(name, dtype, arrays, got)


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
    check_cast(source, target, array, got)
