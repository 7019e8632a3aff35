"""Files of arrays: told apart by their content, and archives that are not what they claim to be."""

import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gc
from graphc import training
from graphc.frontends.training import safetensors
from graphc.frontends.training.reading import read_array

ARRAY = np.arange(6.0).reshape(2, 3)
DTYPES = ["bool", *(f"{k}int{n}" for k in ("", "u") for n in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64"]


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def archive(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that come twice
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content, method)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_of_every_dtype_and_shape(tmp_path, rng, save):
    arrays = {
        f"{dtype}.{len(shape)}": (rng.random(shape) * 100).astype(dtype)
        for dtype in DTYPES
        for shape in ((), (0,), (3,), (2, 0, 3), (3, 1, 5))
    }
    arrays["turned/a:0"] = np.arange(6.0).reshape(2, 3).T
    arrays["big-endian"] = np.arange(4, dtype=">i4")
    arrays["bfloat16"] = np.arange(4).astype(gc.input("x", (), "bfloat16").dtype.numpy)
    save(tmp_path / "a.npz", **arrays)
    found = training.read_arrays(tmp_path / "a.npz")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert (found[name] == array).all()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_npy(tmp_path, version):
    path = archive(tmp_path / "a.npz", [("x.npy", npy(ARRAY, version=version))])
    assert (training.read_arrays(path)["x"] == ARRAY).all()


def test_the_content_says_the_format(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        safetensors.write(file, {"x": ARRAY})
    archive(tmp_path / "a.safetensors", [("x.npy", npy(ARRAY))])
    archive(tmp_path / "a", [("x.npy", npy(ARRAY))])
    for name in ("a.npz", "a.safetensors", "a"):
        assert (training.read_arrays(tmp_path / name)["x"] == ARRAY).all()


@pytest.mark.parametrize("start", [b"\x80", b"\x80\x02", b"PK", b"PK\1"])
def test_a_header_whose_length_looks_like_another_format(tmp_path, start):
    text = b'{"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    text = text.ljust(int.from_bytes(start, "little"))
    path = tmp_path / "a.safetensors"
    path.write_bytes(start.ljust(8, b"\0") + text + b"\1\2")
    assert training.read_arrays(path)["x"].tolist() == [1, 2]


def test_what_is_read_can_be_changed(tmp_path):
    np.savez(tmp_path / "a.npz", x=ARRAY)
    found = training.read_arrays(tmp_path / "a.npz")["x"]
    found[0] = 7
    assert found.sum() == 3 * 7 + ARRAY[1].sum()


def header(text, data=b"", version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode("latin-1") + data


def claim(descr="'<f8'", order="False", shape="(2,)"):
    return "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)  # noqa: UP031


TWO = b"\0" * 16
BROKEN = {
    "objects": npy(np.array([{"a": 1}], object), allow_pickle=True),
    "fields": npy(np.zeros(2, [("a", "f4"), ("b", "i4")])),
    "text": npy(np.array(["a"])),
    "complex": npy(np.zeros(2, complex)),
    "dates": npy(np.zeros(2, "datetime64[s]")),
    "wide floats": header(claim("'<f16'"), TWO * 2),
    "no magic": b"NUMPY" + TWO,
    "empty": b"",
    "version": header(claim(), TWO, version=4),
    "header not all there": header(claim(), TWO)[:40],
    "header too long": header(claim() + " " * 20_000, TWO, version=2),
    "header of 4 GB": b"\x93NUMPY\2\0\xff\xff\xff\xff" + TWO,
    "a call in the header": header(claim(shape="(len('ab'),)"), TWO),
    "negative size": header(claim(shape="(-2,)"), TWO),
    "huge size": header(claim(shape="(99999999999999999999,)"), TWO),
    "huge sizes": header(claim(shape="(4611686018427387904, 4611686018427387904)"), TWO),
    "huge and empty": header(claim(shape="(0, 4611686018427387904, 4611686018427387904)")),
    "sizes without commas": header(claim(shape="(2 1)"), TWO),
    "many axes": header(claim(shape=f"({'1, ' * 65})"), TWO[:8]),
    "float size": header(claim(shape="(2.0,)"), TWO),
    "other order": header(claim(order="0"), TWO),
    "another size": header(claim(shape="(3,)"), TWO),
    "more data": header(claim(), TWO + b"\0"),
    "a bool of 2": header(claim("'|b1'", shape="(1,)"), b"\2"),
    "a key twice": header(claim()[:-1] + "'shape': (1,), }", TWO),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_array_alone_is_refused(tmp_path, name):
    path = tmp_path / "x.npy"
    path.write_bytes(BROKEN[name])
    with pytest.raises(gc.UserError, match=r"GC0501.*x\.npy"):
        read_array(path)


def test_an_array_alone(tmp_path):
    np.save(tmp_path / "x.npy", ARRAY.T)
    assert (read_array(tmp_path / "x.npy") == ARRAY.T).all()
    with pytest.raises(gc.UserError, match="GC0501"):
        read_array(tmp_path / "missing.npy")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_arrays_are_refused(tmp_path, name):
    path = archive(tmp_path / "a.npz", [("good.npy", npy(ARRAY)), ("x.npy", BROKEN[name])])
    with pytest.raises(gc.UserError, match=r"GC0501.*'x\.npy' is no array of numbers"):
        training.read_arrays(path)


ENTRIES = {
    "leads up": [("../x.npy", npy(ARRAY))],
    "leads up from within": [("a/../../x.npy", npy(ARRAY))],
    "leads up on Windows": [("a\\..\\..\\x.npy", npy(ARRAY))],
    "absolute": [("/x.npy", npy(ARRAY))],
    "no array": [("x.npy", npy(ARRAY)), ("readme.txt", b"hello")],
    "a folder": [("x.npy/", b"")],
    "twice": [("x.npy", npy(ARRAY)), ("x.npy", npy(ARRAY + 1))],
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_of_archives_are_checked(tmp_path, name):
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(archive(tmp_path / "a.npz", ENTRIES[name]))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_compression_is_refused(tmp_path, method):
    with pytest.raises(gc.UserError, match="unusual"):
        training.read_arrays(archive(tmp_path / "a.npz", [("x.npy", npy(ARRAY))], method))


def test_an_encrypted_archive_is_refused(tmp_path):
    path = archive(tmp_path / "a.npz", [("x.npy", npy(ARRAY))])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(gc.UserError, match="encrypted"):
        training.read_arrays(path)


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros(2**17), y=np.zeros(2**17))
    assert path.stat().st_size < 2**13
    with pytest.raises(gc.UserError, match="more than the 2000000 allowed"):
        training.read_arrays(path, max_bytes=2_000_000)
    assert len(training.read_arrays(path)) == 2


def patched(path, entry, place, value):
    """The archive with four bytes changed in what its directory says of an entry."""
    content = bytearray(path.read_bytes())
    start = [k for k in range(len(content)) if content[k : k + 4] == b"PK\x01\x02"][entry]
    struct.pack_into("<I", content, start + place, value)
    path.write_bytes(content)
    return path


SIZE, PACKED, OFFSET, CHECKSUM = 24, 20, 42, 16


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("value", [0, 5, 400, 2**31])
@pytest.mark.parametrize("place", [SIZE, PACKED, OFFSET, CHECKSUM])
def test_an_archive_that_lies_about_its_entries_is_refused(tmp_path, method, place, value):
    entries = [("x.npy", npy(ARRAY)), ("y.npy", npy(ARRAY + 1))]
    path = patched(archive(tmp_path / "a.npz", entries, method), 1, place, value)
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(path)


def test_entries_inside_each_other_are_refused(tmp_path):
    """The quine of bombs: many entries of the directory share one piece of the file."""
    path = archive(tmp_path / "a.npz", [("x.npy", npy(ARRAY)), ("y.npy", npy(ARRAY))])
    with pytest.raises(gc.UserError, match="inside another one"):
        training.read_arrays(patched(path, 1, OFFSET, 0))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 64, "does not begin"),
        (b"text, nothing else", "does not begin"),
        (npy(ARRAY), "does not begin"),
        (b"\x80\x04}.", "a pickle"),
        (b"PK\x05\x06 cut short", "zip"),
    ],
)
def test_other_files_are_refused(tmp_path, content, reason):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(gc.UserError, match=reason) as caught:
        training.read_arrays(path)
    assert caught.value.code == "GC0501"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(tmp_path)


# Changed at random --------------------------------------------------------------------------------
def parts(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return [(entry.filename, file.read(entry)) for entry in file.infolist()]


def saved(save):
    file = io.BytesIO()
    save(
        file, a=ARRAY, b=np.bool_([1, 0]), c=np.float32(1), d=np.asfortranarray(np.int16([[1, 2]]))
    )
    return file.getvalue()


PYTORCH = (Path(__file__).parent / "files" / "pytorch.pt").read_bytes()
WHOLE = [saved(np.savez), saved(np.savez_compressed), PYTORCH]
INSIDE = [parts(saved(np.savez)), parts(PYTORCH)]
NOISE = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\xff" * 4, b"\xff" * 8, b"-1", b"9" * 30, b"(", b"'", b"{", b"cos\nsystem\n"]
    ),
    st.sampled_from([b"R", b"b", b"t", b"\x81", b"\x85", b"\x93", b"Q", b"e", b"u", b".", b"h\0"]),
)


@st.composite
def changed(draw, content):
    """Some bytes overwritten, inserted or taken away, or the end cut off."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        taken = draw(st.sampled_from([0, 1, 2, 4, 8, 64, len(content)]))
        content = content[:place] + draw(NOISE) + content[place + taken :]
    return content


def outcome(path):
    """ "read", the code of the error, or what was read that is no number."""
    try:
        found = training.read_arrays(path)
    except gc.UserError as error:
        return error.code
    odd = {array.dtype.name for array in found.values()} - {*DTYPES, "bfloat16"}
    return f"odd: {odd}" if odd else "read"


@given(st.data())
def test_changed_archives_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(data.draw(changed(data.draw(st.sampled_from(WHOLE)))))
    assert outcome(path) in ("read", "GC0501")


@given(st.data())
def test_changed_entries_are_read_or_refused(tmp_path_factory, data):
    """The same behind the checksums: arrays and pickles in archives that are whole."""
    entries = list(data.draw(st.sampled_from(INSIDE)))
    place = data.draw(st.integers(0, min(len(entries) - 1, 3)))
    name, content = entries[place]
    entries[place] = name, data.draw(changed(content))
    path = archive(tmp_path_factory.getbasetemp() / "inside", entries)
    assert outcome(path) in ("read", "GC0501")
