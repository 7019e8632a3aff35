"""Resizing against sums over all elements of an axis, by the formulas of ONNX Resize."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from running import assert_close, run


def coordinate(k, extent, size, scale, name, region=(0.0, 1.0)):
    """Where element ``k`` of ``size`` lies among ``extent``."""
    half = (k + 0.5) / scale - 0.5
    width = extent * scale
    match name:
        case "half_pixel":
            return half
        case "half_pixel_symmetric":
            return extent / 2 * (1 - size / width) + half
        case "pytorch_half_pixel":
            return half if size > 1 else 0.0
        case "align_corners":
            return 0.0 if width == 1 else k * (extent - 1) / (width - 1)
        case "asymmetric":
            return k / scale
    first, last = (end * (extent - 1) for end in region)
    return (first + last) / 2 if width == 1 else first + k * (last - first) / (width - 1)


def kernel(distance, mode, a):
    d = abs(distance)
    if mode == "linear":
        return max(0.0, 1 - d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def nearest(place, rounding):
    low = math.floor(place)
    match rounding:
        case "floor":
            return low
        case "ceil":
            return math.ceil(place)
        case "round_prefer_floor":
            return low if place - low <= 0.5 else low + 1
    return low if place - low < 0.5 else low + 1


def resized(x, axis, size, scale, mode, name, rounding, a, exclude, antialias):
    """One axis of ``x`` resized."""
    rows, out = np.moveaxis(x, axis, 0), []
    extent = len(rows)
    for k in range(size):
        place = coordinate(k, extent, size, scale, name)
        if mode == "nearest":
            out.append(rows[min(max(nearest(place, rounding), 0), extent - 1)])
            continue
        width = min(scale, 1) if antialias else 1
        reach = math.ceil(3 / width)
        total, weights = 0.0, 0.0
        for n in range(math.floor(place) - reach, math.floor(place) + reach + 1):
            weight = kernel((n - place) * width, mode, a)
            if not exclude or 0 <= n < extent:
                total = total + weight * rows[min(max(n, 0), extent - 1)]
                weights += weight
        out.append(total / weights if exclude or antialias else total)
    return np.moveaxis(np.array(out).reshape(size, *rows.shape[1:]), 0, axis)


COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners"]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=3),
    st.sampled_from([*COORDINATES, "asymmetric"]),
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_resize_to_sizes(axes, name, mode, rounding, exclude, antialias):
    shape, sizes = zip(*axes, strict=True)
    x = np.random.default_rng(sum(shape)).normal(size=shape)
    options = dict(coordinates=name, mode=mode, rounding=rounding)
    options |= dict(exclude_outside=exclude, antialias=antialias, cubic=-0.6)
    expected = x
    for axis, (extent, size) in enumerate(axes):
        how = (mode, name, rounding, -0.6, exclude, antialias)
        expected = resized(expected, axis, size, size / extent, *how)
    ours = run(lambda t: gc.resize(t, sizes, **options), x=x)
    assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [*COORDINATES, "asymmetric"])
@pytest.mark.parametrize("scale", [2.6, 0.6, 3.0])
def test_resize_by_scales(name, scale, rng):
    x = rng.normal(size=(2, 5, 3))
    size = math.floor(5 * scale)
    expected = resized(x, 1, size, scale, "linear", name, "floor", -0.75, False, False)
    ours = run(lambda t: gc.resize(t, scales=[scale], axes=[1], coordinates=name), x=x)
    assert_close(ours, expected)
    both = run(lambda t: gc.resize(t, [4], scales=[scale], axes=[-2], coordinates=name), x=x)
    assert_close(both, resized(x, 1, 4, scale, "linear", name, "floor", -0.75, False, False))


def test_a_region_may_leave_the_tensor(rng):
    x = rng.normal(size=(4, 6))
    regions, sizes = [(-0.5, 0.7), (0.9, 0.1)], (5, 1)
    expected = np.full((5, 6), 9.0)
    for k in range(5):
        place = coordinate(k, 4, 5, 5 / 4, "tf_crop_and_resize", regions[0])
        if 0 <= place <= 3:
            expected[k] = sum(kernel(n - place, "linear", 0) * x[n] for n in range(4))
    place = coordinate(0, 6, 1, 1 / 6, "tf_crop_and_resize", regions[1])
    column = sum(kernel(n - place, "linear", 0) * expected[:, n : n + 1] for n in range(6))
    options = dict(coordinates="tf_crop_and_resize", regions=regions, outside=9.0)
    assert_close(run(lambda t: gc.resize(t, sizes, **options), x=x), column)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_images_twice_as_large(backend):
    """The values that PyTorch's interpolate gives."""
    x = gc.input("x", (1, 1, 2, 2))
    image = np.float32([[[[1, 2], [3, 4]]]])
    smooth, same = gc.resize(x, (4, 4)), gc.resize(x, (4, 4), mode="nearest")
    found = gc.compile([x], [smooth, same], backend=backend)(image)
    wanted = [
        [1, 1.25, 1.75, 2],
        [1.5, 1.75, 2.25, 2.5],
        [2.5, 2.75, 3.25, 3.5],
        [3, 3.25, 3.75, 4],
    ]
    assert_close(found[0][0, 0], np.float32(wanted))
    assert_close(found[1], image.repeat(2, 2).repeat(2, 3))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "half_pixel_symmetric"])
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_named_sizes_grow_by_whole_factors(mode, coordinates, backend, rng):
    options = dict(mode=mode, coordinates=coordinates, rounding="floor")
    if coordinates != "asymmetric":
        options["rounding"] = "round_prefer_ceil"
    x, (height, width) = gc.input("x", (2, "h", "w")), map(gc.dim, "hw")
    by_scales = gc.resize(x, scales=(3.0, 2.0), **options)
    by_sizes = gc.resize(x, (3 * height, 2 * width), **options)
    assert str(by_scales.node.type) == str(by_sizes.node.type) == "f32[2,3*h,2*w]"
    function = gc.compile([x], [by_scales, by_sizes], backend=backend)
    for sizes in ((4, 5), (1, 2)):
        image = rng.normal(size=(2, *sizes)).astype("f")
        plain = run(lambda t: gc.resize(t, scales=(3.0, 2.0), **options), x=image)
        for found in function(image):
            assert_close(found, plain)


@pytest.mark.parametrize(
    "options",
    [
        dict(scales=(1.5,)),
        dict(sizes=(7,)),
        dict(scales=(2.0,), coordinates="align_corners"),
        dict(scales=(2.0,), mode="nearest", rounding="ceil", coordinates="align_corners"),
        dict(scales=(2.0,), mode="cubic", exclude_outside=True),
        dict(scales=(20.0,)),
    ],
)
def test_other_named_sizes_need_a_number(options):
    with pytest.raises(gc.UserError, match="GC0305"):
        gc.resize(gc.input("x", (3, "w")), **options)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("sizes", "antialias"), [((8, 15), False), ((7, 2), False), ((3, 10), False), ((2, 2), True)]
)
def test_gradients(mode, sizes, antialias, rng):
    x = gc.input("x", (2, 4, 5))
    loss = (
        gc.resize(x, sizes, mode=mode, antialias=antialias) * rng.normal(size=(2, *sizes))
    ).sum()
    report = gc.check_grad(loss, x, {x: rng.normal(size=x.shape)})
    assert report, report


def test_a_nan_stays_where_it_is():
    x = np.float32([0, 1, 2, np.nan, 4, 5, 6, 7])
    ours = run(lambda t: gc.resize(t, [16]), x=x)
    assert np.isnan(ours).nonzero()[0].tolist() == [5, 6, 7, 8]
    ours = run(lambda t: gc.resize(t, [16], coordinates="asymmetric"), x=x)
    assert np.isnan(ours).nonzero()[0].tolist() == [5, 6, 7]


def test_dtypes_and_empty_tensors(rng):
    whole = np.arange(6, dtype=np.uint8).reshape(2, 3)
    ours = run(lambda t: gc.resize(t, (4, 2), mode="nearest", coordinates="asymmetric"), x=whole)
    assert_close(ours, whole.repeat(2, 0)[:, [0, 1]])
    halves = rng.normal(size=(5,)).astype(np.float16)
    wide = run(lambda t: gc.resize(t, [9]), x=halves.astype(np.float32))
    assert_close(run(lambda t: gc.resize(t, [9]), x=halves), wide.astype(np.float16))
    for shape in ((0, 4), (3, 0)):
        empty = np.zeros(shape, np.float32)
        for mode in ("nearest", "linear"):
            ours = run(
                lambda t, m=mode: gc.resize(t, (6, 0) if t.shape[1] == 0 else (8,), mode=m), x=empty
            )
            assert ours.shape == ((0, 8) if shape[0] == 0 else (6, 0))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (dict(), "GC0104"),
        (dict(sizes=(2,), mode="spline"), "GC0104"),
        (dict(sizes=(2,), coordinates="corner"), "GC0104"),
        (dict(sizes=(2,), rounding="up"), "GC0104"),
        (dict(sizes=(2,), coordinates="tf_crop_and_resize"), "GC0104"),
        (dict(sizes=(2,), regions=[(0, 1)]), "GC0104"),
        (dict(sizes=(-2,)), "GC0104"),
        (dict(scales=(-2.0,)), "GC0104"),
        (dict(sizes=(2, 3), scales=(1.0,)), "GC0103"),
        (dict(sizes=(2, 3), axes=[0]), "GC0103"),
        (dict(sizes=(2, 2, 2)), "GC0104"),
        (dict(sizes=(2,), axes=[5]), "GC0104"),
    ],
)
def test_wrong_options_are_reported_at_the_users_line(options, code):
    with pytest.raises(gc.UserError, match=code) as caught:
        gc.resize(gc.input("x", (3, 4)), **options)
    assert "test_resize.py" in caught.value.where


def test_only_floats_are_interpolated_and_sizes_are_numbers():
    with pytest.raises(gc.UserError, match="GC0102"):
        gc.resize(gc.input("x", (3,), "int32"), [2])
    with pytest.raises(gc.UserError, match="GC0305"):
        gc.resize(gc.input("x", ("n",)), [2])
