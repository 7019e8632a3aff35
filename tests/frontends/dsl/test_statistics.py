"""Statistics and products of vectors agree with NumPy, nan included."""

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run

each = pytest.mark.parametrize
AXES = [None, 0, -1, (0, 2)]


@pytest.fixture
def cube(rng):
    return rng.normal(size=(3, 4, 5)).astype(np.float32)


@pytest.fixture
def holes(cube):
    """Some elements are nan, and all of one row."""
    cube[0, 1:3, 2] = cube[2, 0, 0] = np.nan
    cube[1, 2] = np.nan
    return cube


@each("axis", AXES)
@each("keepdims", [False, True])
def test_counts_and_ranges(cube, axis, keepdims):
    cube[0] = 0
    kept = {"axis": axis, "keepdims": keepdims}
    for name in ("count_nonzero", "ptp"):
        ours = run(lambda t, f=name: getattr(gc, f)(t, **kept), x=cube)
        assert_close(ours, getattr(np, name)(cube, **kept))
    assert_close(run(gc.count_nonzero, x=cube > 0), np.count_nonzero(cube > 0))


@each("name", ["nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd"])
@each("axis", AXES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_statistics_without_nan(holes, name, axis):
    function = getattr(gc, name)
    for x in (holes, holes.astype(np.float64), holes.astype(np.float16)):
        wanted = np.asarray(getattr(np, name)(x.astype(np.float64), axis)).astype(x.dtype)
        tolerance = {2: 5e-3, 4: 1e-5, 8: 1e-12}[x.itemsize]
        assert_close(run(lambda t: function(t, axis), x=x), wanted, rtol=tolerance, atol=tolerance)
    kept = getattr(np, name)(holes, axis, keepdims=True)
    assert_close(run(lambda t: function(t, axis, keepdims=True), x=holes), kept, atol=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_variances_without_nan_with_a_correction(holes):
    for name in ("nanvar", "nanstd"):
        ours = run(lambda t, f=name: getattr(gc, f)(t, 1, correction=1), x=holes)
        assert_close(ours, getattr(np, name)(holes, 1, ddof=1))


def test_integers_have_no_nan():
    x = np.array([[3, 1], [2, 5]])
    for name in ("nansum", "nanmax", "nanmin", "nanprod"):
        ours = run(lambda t, f=name: getattr(gc, f)(t, 0), x=x)
        assert_close(ours, getattr(np, name)(x, 0))


def test_slopes_without_nan(rng):
    x = rng.normal(size=(3, 4))
    x[0, 1] = x[2] = np.nan
    t = gc.input("t", (3, 4))
    outputs = [gc.grad(f(t, 1)[:2].sum(), [t])[0] for f in (gc.nansum, gc.nanmean, gc.nanmax)]
    sums, means, peaks = gc.compile([t], outputs, backend="numpy")(x.astype("f"))
    there = ~np.isnan(x[:2])
    assert_close(sums[:2], there.astype("f"))
    assert_close(means[:2], (there / there.sum(1, keepdims=True)).astype("f"))
    assert_close(peaks[:2], (x[:2] == np.nanmax(x[:2], 1, keepdims=True)).astype("f"))
    assert not sums[2].any()
    assert not means[2].any()
    assert not peaks[2].any()


def test_averages_with_weights(cube, rng):
    whole, some = rng.uniform(0.1, 1, (3, 4, 5)), rng.uniform(0.1, 1, 4)
    for options in (
        {"weights": whole}, {"weights": whole, "axis": 2}, {"weights": some, "axis": 1},
        {"weights": [1, 2, 3], "axis": 0, "keepdims": True}, {"axis": 1}, {},
    ):  # fmt: skip
        ours = run(lambda t, o=options: gc.average(t, **o), x=cube)
        assert_close(ours, np.average(cube, **options).astype("f"))
    exact = run(lambda t: gc.average(t, 1, weights=some), x=cube.astype(np.float64))
    assert_close(exact, np.average(cube.astype(np.float64), 1, some), rtol=1e-13)


def test_covariances(rng):
    x = rng.normal(size=(3, 8))
    assert_close(run(gc.cov, x=x), np.cov(x))
    assert_close(run(lambda t: gc.cov(t, correction=0), x=x), np.cov(x, ddof=0))
    assert_close(run(gc.corrcoef, x=x), np.corrcoef(x))
    t = gc.input("t", (3, 8), "float64")
    weights = rng.normal(size=(3, 3))
    assert gc.check_grad((gc.cov(t) * weights).sum(), t, {t: x})
    assert gc.check_grad((gc.corrcoef(t) * weights).sum(), t, {t: x})


def test_differences(cube):
    whole = np.array([[1, 4, 9, 16], [2, 3, 5, 7]])
    for options in (
        {}, {"n": 2}, {"axis": 0}, {"n": 0}, {"n": 9},
        {"prepend": 0.5}, {"append": cube[..., :2], "axis": 2}, {"n": 2, "axis": 1, "append": 1.0},
    ):  # fmt: skip
        ours = run(lambda t, o=options: gc.diff(t, **o), x=cube)
        assert_close(ours, np.diff(cube, **options).astype("f"), atol=1e-5)
    assert_close(run(lambda t: gc.diff(t, prepend=0), x=whole), np.diff(whole, prepend=0))


def test_integrals(cube, rng):
    places = np.sort(rng.uniform(size=(3, 4, 5)), 1)
    for options in (
        {}, {"dx": 0.5}, {"axis": 0}, {"x": places[0, :, 0], "axis": 1}, {"x": places, "axis": 1},
        {"x": places[0, 0]},
    ):  # fmt: skip
        ours = run(lambda t, o=options: gc.trapezoid(t, **o), x=cube)
        assert_close(ours, np.trapezoid(cube, **options).astype("f"), atol=1e-5)


def test_products_of_vectors(cube, rng):
    other = rng.normal(size=(4, 5)).astype(np.float32)
    three = rng.normal(size=(3, 1, 5)).astype(np.float32)
    for function in (
        lambda m, t: m.vecdot(t, other),
        lambda m, t: m.inner(t, other),
        lambda m, t: m.inner(t[0, 0], other[0]),
        lambda m, t: m.inner(t[0, 0, 0], other),
        lambda m, t: m.cross(t, three, axis=0),
        lambda m, t: m.cross(t[:, :3, 0], three[:, 0, :3]),
        lambda m, t: m.kron(t[0], other[:2, :3]),
        lambda m, t: m.kron(t[0, 0], other),
        lambda m, t: m.kron(t, other[0]),
        lambda m, t: m.kron(t[0, 0, 0], other),
    ):
        assert_close(run(lambda t, f=function: f(gc, t), x=cube), function(np, cube), atol=1e-5)
    along = run(lambda t: gc.vecdot(t, three, axis=0), x=cube)
    assert_close(along, (cube * three).sum(0), atol=1e-5)


def test_products_have_slopes(rng):
    a, b = gc.input("a", (2, 3), "float64"), gc.input("b", (2, 3), "float64")
    values = {a: rng.normal(size=(2, 3)), b: rng.normal(size=(2, 3))}
    for build in (gc.vecdot, gc.inner, gc.cross, gc.kron):
        assert gc.check_grad(gc.sin(build(a, b)).sum(), [a, b], values)


@each(
    ("build", "code"),
    [
        (lambda t: gc.average(t, weights=[1.0, 2.0]), "GC0101"),
        (lambda t: gc.average(t, 0, weights=[1.0, 2.0, 3.0]), "GC0101"),
        (lambda t: gc.cov(t[0]), "GC0103"),
        (lambda t: gc.corrcoef(t[None]), "GC0103"),
        (lambda t: gc.diff(t, -1), "GC0104"),
        (lambda t: gc.diff(t, axis=2), "GC0104"),
        (lambda t: gc.diff(t, append=t.T), "GC0101"),
        (lambda t: gc.trapezoid(t, x=[1.0, 2.0]), "GC0101"),
        (lambda t: gc.cross(t[:, :2], t[:, :2]), "GC0101"),
        (lambda t: gc.inner(t, t.T), "GC0101"),
        (lambda t: gc.vecdot(t, t.T), "GC0101"),
        (lambda t: gc.nanmean(t, 5), "GC0104"),
    ],
)
def test_wrong_operands(build, code):
    with pytest.raises(gc.UserError, match=code):
        build(gc.input("t", (2, 3)))
