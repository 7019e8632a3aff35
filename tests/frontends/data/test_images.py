"""Folders of images: read when asked for, fitted to one size, and broken files named."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest

from graphc.errors import UserError
from graphc.frontends.data import Images, batches, image_folder

pillow = pytest.importorskip("PIL.Image")


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pillow.fromarray(np.asarray(array)).save(path, **options)
    return path


def grey(level, shape=(4, 4)):
    return np.full(shape, level, np.uint8)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "cats" / "b.png", grey(20))
    save(tmp_path / "cats" / "a.png", grey(10))
    save(tmp_path / "cats" / "more" / "c.BMP", grey(30))
    save(tmp_path / "ants" / "x.png", grey(40))
    (tmp_path / "cats" / "notes.txt").write_text("not an image")
    save(tmp_path / "cats" / ".hidden.png", grey(0))
    (tmp_path / ".cache").mkdir()
    return tmp_path


def test_classes_are_folders(folder):
    found = image_folder(folder, (4, 4), channels=1)
    assert found.classes == ("ants", "cats")
    assert found.labels.tolist() == [0, 1, 1, 1]
    assert found.labels.dtype == np.int64
    assert found.images.shape == (4, 1, 4, 4)
    assert len(found.images) == 4
    levels = found.images[:][:, 0, 0, 0]
    assert levels.dtype == found.images.dtype == np.uint8
    assert sorted(levels.tolist()) == [10, 20, 30, 40]
    assert levels[0] == 40
    assert found.images[0].shape == (1, 4, 4)
    assert found.images[np.array([[1, 2]])].shape == (1, 2, 1, 4, 4)
    with pytest.raises(IndexError):
        found.images[4]


def test_batches_read_what_they_hold(folder):
    found = image_folder(folder, (4, 4))
    rng = np.random.default_rng(0)
    (first, second) = batches([found.images, found.labels], 2, rng)
    together = np.concatenate([first[0], second[0]])
    labels = np.concatenate([first[1], second[1]])
    assert together.shape == (4, 3, 4, 4)
    assert ((together[:, 0, 0, 0] == 40) == (labels == 0)).all()


def test_only_what_is_asked_for_is_read(folder):
    (folder / "cats" / "a.png").write_bytes(b"broken")
    found = image_folder(folder, (4, 4), 1)
    assert found.images[[0, 2]].shape == (2, 1, 4, 4)
    with pytest.raises(UserError, match=r"GC0501.*a\.png cannot be read as an image"):
        found.images[1]


def test_images_are_scaled_and_cut(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 15:25] = [200, 100, 50]
    path = save(tmp_path / "wide.png", wide)
    image = Images((path,), (5, 5))[0]
    assert image.shape == (3, 5, 5)
    assert (image[:, :, 2:3] == np.array([200, 100, 50])[:, None, None]).all()
    assert Images((path,), (10, 40))[0].tolist() == wide.transpose(2, 0, 1).tolist()
    assert Images((path,), (3, 7), 4)[0][3].tolist() == np.full((3, 7), 255).tolist()


def test_colours_become_the_channels_asked_for(tmp_path):
    colours = np.zeros((2, 2, 4), np.uint8)
    colours[:] = [255, 0, 0, 128]
    path = save(tmp_path / "a.png", colours)
    assert Images((path,), (2, 2), 3)[0][:, 0, 0].tolist() == [255, 0, 0]
    assert Images((path,), (2, 2), 4)[0][:, 0, 0].tolist() == [255, 0, 0, 128]
    assert Images((path,), (2, 2), 1)[0][:, 0, 0].tolist() == [76]  # 0.299 of 255


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    path = save(tmp_path / "deep.png", np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16))
    assert Images((path,), (2, 2), 1)[0].tolist() == [[[0, 0x12], [0x80, 0xFF]]]


def test_photographs_are_turned_as_their_camera_was_held(tmp_path):
    rows = np.zeros((8, 16, 3), np.uint8)
    rows[:, :8] = 255
    turned = pillow.Exif()
    turned[0x0112] = 6  # the left side is the top
    path = save(tmp_path / "a.jpg", rows, exif=turned, quality=100)
    image = Images((path,), (16, 8))[0]
    assert (image[:, :7] > 200).all()
    assert (image[:, 9:] < 50).all()


def png(width, height):
    """A small file that claims to be a large image."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    start = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", start) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(kind):
    file = io.BytesIO()
    pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, kind)
    return file.getvalue()


BROKEN = {
    "empty": b"",
    "text": b"hello",
    "many pixels": png(9000, 9000),
    "too many pixels for Pillow": png(60_000, 60_000),
    "rows missing": png(200, 200),
    "no pixels": png(0, 3),
    "half a png": encoded("PNG")[:50],
    "half a jpeg": encoded("JPEG")[:300],
    "half a gif": encoded("GIF")[:30],
    "half a bmp": encoded("BMP")[:40],
    "a pdf": b"%PDF-1.4\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n",
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(tmp_path, name):
    path = tmp_path / "image.png"
    path.write_bytes(BROKEN[name])
    with pytest.raises(UserError, match=r"GC0501.*image\.png"):
        Images((path,), (4, 4))[0]


def test_the_number_of_pixels_is_bounded(tmp_path):
    path = save(tmp_path / "a.png", grey(1, (10, 10)))
    assert Images((path,), (4, 4), max_pixels=100)[0].max() == 1
    with pytest.raises(UserError, match="10 x 10, more than the 99 pixels allowed"):
        Images((path,), (4, 4), max_pixels=99)[0]


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda path: path / "missing", "cannot be listed"),
        (lambda path: path, "no folders"),
        (lambda path: (path / "dogs").mkdir() or path, "no images in dogs"),
    ],
)
def test_folders_without_images(tmp_path, prepare, reason):
    with pytest.raises(UserError, match=f"GC0501.*{reason}"):
        image_folder(prepare(tmp_path), (4, 4))


@pytest.mark.parametrize("options", [((4, 4), 2), ((0, 4), 3), ((4, 4, 4), 3)])
def test_wrong_options(options):
    with pytest.raises(UserError, match="GC0104"):
        Images((), *options)


def test_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(UserError, match=r"GC0501.*Pillow"):
        image_folder(tmp_path, (4, 4))
