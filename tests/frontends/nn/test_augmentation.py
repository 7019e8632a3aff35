"""Augmentation: what is computed for given amounts, and what the layers draw."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close

IMAGES = np.random.default_rng(0).normal(size=(3, 2, 6, 6)).astype(np.float32)
WIDE = np.random.default_rng(1).normal(size=(3, 2, 4, 7)).astype(np.float32)


def of(function, images, backend="numpy", sizes=("n",)):
    x = gc.input("x", (*sizes, *images.shape[1:]), images.dtype.name)
    return gc.compile([x], function(x), backend=backend)


def drawn(layer, images, calls=1, **options):
    run = of(layer, images, **options)
    return [run(images) for _ in range(calls)]


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3])
def test_quarter_turns(turns, backend):
    found = of(lambda x: nn.warp(x, 90.0 * turns), IMAGES, backend)(IMAGES)
    assert_close(found, np.rot90(IMAGES, turns, (2, 3)), atol=1e-5)


def test_half_turns_of_wide_images():
    assert_close(of(lambda x: nn.warp(x, 180.0), WIDE)(WIDE), np.rot90(WIDE, 2, (2, 3)), atol=1e-5)


def shifted(images, down, right):
    found = np.zeros_like(images)
    for place in np.ndindex(images.shape[2:]):
        at = place[0] - down, place[1] - right
        if 0 <= at[0] < images.shape[2] and 0 <= at[1] < images.shape[3]:
            found[:, :, place[0], place[1]] = images[:, :, at[0], at[1]]
    return found


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -2), (-3, 1), (9, 9)])
def test_whole_shifts(shift):
    found = of(lambda x: nn.warp(x, shift=shift), WIDE)(WIDE)
    assert_close(found, shifted(WIDE, *shift), atol=1e-6)


def test_each_image_has_its_own_amounts():
    downs = np.array([0, 1, -2])
    found = of(lambda x: nn.warp(x, 0, (downs, 0.0)), WIDE, sizes=(3,))(WIDE)
    expected = [shifted(WIDE[k : k + 1], down, 0)[0] for k, down in enumerate(downs)]
    assert_close(found, np.stack(expected), atol=1e-6)


def test_scales():
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32) - 4, (1, 1, 9, 9)).copy()
    found = of(lambda x: nn.warp(x, scale=2.0), ramp)(ramp)
    assert_close(found, ramp / 2)
    border = of(lambda x: nn.warp(x, scale=0.5, padding="border"), ramp)(ramp)
    assert_close(border, np.clip(ramp * 2, -4, 4))
    turned = of(lambda x: nn.warp(x, 90, (1, 2), 2.0, padding="border"), ramp)(ramp)
    rows = np.arange(9, dtype=np.float32)[:, None] - 4
    assert_close(turned[0, 0], np.broadcast_to(np.clip(-(rows - 1) / 2, -4, 4), (9, 9)), atol=1e-5)


def test_gradients_of_a_warp():
    x = gc.param(IMAGES[:2, :1, :4, :4], dtype="float64")
    degrees = gc.param(np.array([20.0, -50]), dtype="float64")
    down = gc.param(np.array(0.3), dtype="float64")
    assert gc.check_grad((nn.warp(x, degrees, (down, -0.2), 1.1) ** 2).sum(), [x, degrees, down])


def test_pieces():
    top, left = np.array([0, 2, 1]), np.array([3, 0, 1])
    found = of(lambda x: nn.crop(x, top, left, (2, 4)), WIDE, sizes=(3,))(WIDE)
    for k in range(3):
        rows, columns = slice(top[k], top[k] + 2), slice(left[k], left[k] + 4)
        assert (found[k] == WIDE[k][:, rows, columns]).all()
    assert (of(lambda x: nn.crop(x, 1, 2, 3), WIDE)(WIDE) == WIDE[:, :, 1:4, 2:5]).all()


# Layers -------------------------------------------------------------------------------------------
LAYERS = [
    lambda seed: nn.RandomAffine(30, 0.2, (0.8, 1.2), seed=seed),
    lambda seed: nn.RandomFlip(seed=seed),
    lambda seed: nn.RandomCrop(6, padding=2, seed=seed),
    lambda seed: nn.Cutout(3, seed=seed),
    lambda seed: nn.GaussianNoise(0.1, seed=seed),
]


@pytest.mark.parametrize("make", LAYERS)
def test_every_call_draws_anew_and_repeats_with_the_seed(make):
    first = drawn(make(0), IMAGES, 3)
    assert all(y.shape == IMAGES.shape and y.dtype == np.float32 for y in first)
    assert len({y.tobytes() for y in first}) > 1
    assert len({y.tobytes() for y in drawn(make(1), IMAGES, 3) + first}) > 3
    again = drawn(make(0), IMAGES, 3, backend="llvm")
    for ours, theirs in zip(again, first, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", LAYERS)
def test_nothing_changes_in_use(make):
    assert (drawn(make(0).eval(), IMAGES)[0] == IMAGES).all()
    assert list(make(0).named_state()) == ["random"]
    assert not make(0).parameters()


def test_flips_are_of_whole_images():
    found = np.concatenate(drawn(nn.RandomFlip(seed=0), WIDE, 20))
    plain = np.concatenate([WIDE] * 20)
    kept = (found == plain).all((1, 2, 3))
    turned = (found == plain[..., ::-1]).all((1, 2, 3))
    assert (kept ^ turned).all()
    assert 15 < kept.sum() < 45
    down = drawn(nn.RandomFlip(2, probability=1.0), WIDE)[0]
    assert (down == WIDE[:, :, ::-1]).all()
    assert (drawn(nn.RandomFlip(probability=0.0), WIDE)[0] == WIDE).all()


def test_crops_reach_every_place():
    numbers = np.arange(25.0).reshape(1, 1, 5, 5).astype(np.float32)
    many = np.repeat(numbers, 400, 0)
    found = drawn(nn.RandomCrop((3, 4), seed=0), many)[0]
    corners = found[:, 0, 0, 0]
    assert sorted({float(c) for c in corners}) == [0, 1, 5, 6, 10, 11]
    assert (found - corners[:, None, None, None] == numbers[:, :, :3, :4]).all()
    assert np.bincount(corners.astype(int)).max() < 110
    middle = drawn(nn.RandomCrop((3, 4)).eval(), many)[0]
    assert (middle == numbers[:, :, 1:4, :4]).all()


def test_crops_of_bytes():
    images = (np.arange(2 * 3 * 5 * 5) % 256).astype(np.uint8).reshape(2, 3, 5, 5)
    found = drawn(nn.RandomCrop(5, padding=1, seed=0), images)[0]
    assert found.dtype == np.uint8
    assert found.shape == images.shape


@pytest.mark.parametrize("size", [1, 2, 3, (2, 5)])
def test_holes(size):
    ones = np.ones((200, 1, 6, 7), np.float32)
    found = drawn(nn.Cutout(size, seed=0), ones)[0][:, 0]
    height, width = (size, size) if isinstance(size, int) else size
    areas = set()
    for image in found:
        rows, columns = (image == 0).any(1), (image == 0).any(0)
        assert (image == 0).sum() == rows.sum() * columns.sum()
        areas.add((int(rows.sum()), int(columns.sum())))
    assert max(areas) == (height, width)
    assert (found == 0).any(0).all()


def test_noise():
    zeros = np.zeros((1, 1, 200, 100), np.float32)
    found = drawn(nn.GaussianNoise(0.5, seed=0), zeros)[0]
    assert abs(found.mean()) < 0.02
    assert 0.48 < found.std() < 0.52
    assert drawn(nn.GaussianNoise(0.5, seed=0), np.zeros((3, 2)))[0].dtype == np.float64


def test_no_images():
    for make in LAYERS:
        assert drawn(make(0), IMAGES[:0])[0].shape == (0, 2, 6, 6)


X = gc.input("x", (3, 2, 6, 6))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda: nn.RandomAffine(-1), "GC0104"),
        (lambda: nn.RandomAffine(shift=2), "GC0104"),
        (lambda: nn.RandomAffine(scale=(2, 1)), "GC0104"),
        (lambda: nn.RandomFlip(probability=2), "GC0104"),
        (lambda: nn.GaussianNoise(-1), "GC0104"),
        (lambda: nn.RandomCrop(7)(X), "GC0104"),
        (lambda: nn.RandomCrop(7).eval()(X), "GC0104"),
        (lambda: nn.crop(X, 0, 0, 7), "GC0104"),
        (lambda: nn.crop(X, 0, 0, 0), "GC0104"),
        (lambda: nn.RandomFlip()(X[0]), "GC0103"),
        (lambda: nn.warp(X[0]), "GC0103"),
        (lambda: nn.warp(X, np.zeros((3, 1))), "GC0103"),
        (lambda: nn.warp(X.astype("int32")), "GC0102"),
    ],
)
def test_wrong_use(wrong, code):
    with pytest.raises(gc.UserError, match=code):
        wrong()
