"""The embedded digits, IDX files and mini-batches."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.errors import UserError
from graphc.frontends.data import batch_count, batches, load_digits, read_digits, read_idx, split

CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def idx_bytes(array: np.ndarray, dtype: str) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, CODES[dtype], array.ndim, *array.shape)
    return header + array.astype(dtype).tobytes()


def test_the_digits_are_balanced_and_look_like_ink_on_paper():
    digits = load_digits()
    for images, labels, per_class in [
        (digits.train_images, digits.train_labels, 1000),
        (digits.test_images, digits.test_labels, 200),
    ]:
        assert images.shape == (10 * per_class, 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        assert np.bincount(labels, minlength=10).tolist() == [per_class] * 10
        assert images.reshape(len(images), -1).max(axis=1).min() > 100
        assert 0.1 < images.mean() / 255 < 0.2
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.test_images)


def test_the_digits_can_be_told_apart():
    """The nearest class mean is right far more often than chance: images and labels belong."""
    digits = load_digits()
    images = digits.train_images.reshape(-1, 784) / 255.0
    means = np.stack([images[digits.train_labels == digit].mean(axis=0) for digit in range(10)])
    tests = digits.test_images.reshape(-1, 784) / 255.0
    distance = (means**2).sum(axis=1) - 2 * tests @ means.T
    assert (distance.argmin(axis=1) == digits.test_labels).mean() > 0.75


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5, 3, 2)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_back(tmp_path: Path, rng, dtype, shape, pack):
    array = rng.integers(0, 100, size=shape).astype(dtype)
    path = tmp_path / "values.idx"
    path.write_bytes(pack(idx_bytes(array, dtype)))
    read = read_idx(path)
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


GOOD = idx_bytes(np.arange(6).reshape(2, 3), "u1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not begin"),
        (b"PNG\0\0\0", "does not begin"),
        (b"\0\0\x07\1" + GOOD[4:], "does not begin"),
        (GOOD[:7], "cut off"),
        (GOOD[:-1], "only 5"),
        (GOOD + b"\0", "more"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", "too many"),
        (struct.pack(">HBBII", 0, 8, 2, 2**31, 2**31), "more than"),
        (gzip.compress(GOOD, mtime=0)[:-9], "end-of-stream"),
        (gzip.compress(GOOD, mtime=0)[:12] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_a_broken_idx_file_is_a_clear_error(tmp_path: Path, content, reason):
    path = tmp_path / "broken.idx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_idx(path)
    assert caught.value.code == "GC0501"
    assert str(path) in str(caught.value)


def test_a_missing_idx_file_is_a_clear_error(tmp_path: Path):
    with pytest.raises(UserError, match="No such file"):
        read_idx(tmp_path / "missing.idx")


def test_an_idx_file_that_unpacks_without_end_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(100_000), "u1")))
    with pytest.raises(UserError, match="more than the 1000 allowed"):
        read_idx(path, max_bytes=1000)


FILES = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]


def write_digits(folder, *arrays):
    for pack, name, array in zip([bytes, gzip.compress] * 2, FILES, arrays, strict=True):
        ending = "" if pack is bytes else ".gz"
        (folder / f"{name}-ubyte{ending}").write_bytes(pack(idx_bytes(array, "u1")))


def test_folders_of_digits(tmp_path, rng):
    arrays = [rng.integers(0, 256, shape) for shape in ((5, 2, 3), (5,), (4, 2, 3), (4,))]
    write_digits(tmp_path, *arrays)
    found = read_digits(tmp_path)
    assert (found.train_images == arrays[0]).all()
    assert (found.test_labels == arrays[3]).all()
    write_digits(tmp_path, arrays[0], arrays[3], arrays[2], arrays[3])
    with pytest.raises(UserError, match=r"GC0501.*train images"):
        read_digits(tmp_path)
    with pytest.raises(UserError, match=r"GC0501.*No such file"):
        read_digits(tmp_path / "missing")


@given(st.integers(1, 40), st.integers(1, 12), st.booleans(), st.booleans())
def test_batches_hold_every_row_once(count, size, shuffle, drop_last):
    rows = np.arange(count)
    rng = np.random.default_rng(count) if shuffle else None
    if drop_last and size > count:
        with pytest.raises(UserError, match="batch_size"):
            batches([rows], size, rng, drop_last)
        return
    found = list(batches([rows, rows * 10], size, rng, drop_last))
    assert all(np.array_equal(right, left * 10) for left, right in found)
    lengths = {len(left) for left, _ in found[: None if drop_last else -1]}
    assert lengths <= {size}
    together = np.concatenate([left for left, _ in found])
    kept = count - count % size if drop_last else count
    assert len(np.unique(together)) == len(together) == kept
    if not shuffle:
        np.testing.assert_array_equal(together, rows[:kept])


def test_batches_repeat_with_the_same_seed():
    rows = np.arange(50)
    first, again, other = (
        [batch.tolist() for (batch,) in batches([rows], 8, np.random.default_rng(seed))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("arrays", [[], [np.float32(1)], [np.zeros(3), np.zeros((4, 2))]])
def test_arrays_without_a_common_first_axis_are_refused(arrays):
    with pytest.raises(UserError, match="share no first axis") as caught:
        batches(arrays, 2)
    assert caught.value.code == "GC0303"


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_needs_an_example(size):
    with pytest.raises(UserError, match="batch_size") as caught:
        batches([np.zeros(3)], size)
    assert caught.value.code == "GC0104"


def test_an_epoch_goes_on_where_it_was():
    rows = np.arange(50)
    whole = list(batches([rows], 8, np.random.default_rng(1), drop_last=False))
    rest = list(batches([rows], 8, np.random.default_rng(1), drop_last=False, first=4))
    assert len(whole) == batch_count([rows], 8, drop_last=False) == 7
    assert batch_count([rows], 8) == 6
    assert [b.tolist() for (b,) in rest] == [b.tolist() for (b,) in whole[4:]]


@given(st.integers(0, 30), st.floats(0, 1))
def test_a_split_has_every_row_once(count, fraction):
    rows = np.arange(count)
    (front, tens), (back, _) = split([rows, rows * 10], fraction, np.random.default_rng(0))
    assert len(front) == round(count * fraction)
    assert (tens == front * 10).all()
    assert sorted([*front, *back]) == rows.tolist()
    (first,), (last,) = split([rows], fraction)
    assert [*first, *last] == rows.tolist()


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_is_from_0_to_1(fraction):
    with pytest.raises(UserError, match="GC0104"):
        split([np.zeros(3)], fraction)
