"""The safetensors format: what is written is read, and what is broken is refused."""

import json
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import graphc as gc
from graphc import nn, training
from graphc.frontends.training import safetensors

DTYPES = ["bool", *(f"{k}int{n}" for k in ("", "u") for n in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64"]


def written(path, arrays):
    with open(path, "wb") as file:
        safetensors.write(file, arrays)
    return path


def file_of(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_every_dtype_and_shape(tmp_path, rng):
    arrays = {
        f"{dtype} {shape}": (rng.random(shape) * 100).astype(dtype)
        for dtype in DTYPES
        for shape in ((), (0,), (3,), (2, 0, 3), (3, 1, 5))
    }
    arrays["turned"] = np.arange(6.0).reshape(2, 3).T
    arrays["big-endian"] = np.arange(4, dtype=">i4")
    arrays['näme " \\ \n'] = np.ones(1)
    found = safetensors.read(written(tmp_path / "a.safetensors", arrays))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert (found[name] == array).all()


def test_the_layout(tmp_path):
    arrays = {"b": np.int8([1, 2, 3]), "a": np.float32([[1.5]])}
    content = written(tmp_path / "a.safetensors", arrays).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "a": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]},
        "b": {"dtype": "I8", "shape": [3], "data_offsets": [4, 7]},
    }
    assert content[8 + length :] == b"\x00\x00\xc0\x3f\x01\x02\x03"


def test_bfloat16(tmp_path):
    path = tmp_path / "a.safetensors"
    claim = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "__metadata__": {}}
    path.write_bytes(file_of(claim, b"\xc0\x3f\x20\xc1"))
    found = training.read_arrays(path)["x"]
    assert found.dtype.name == "bfloat16"
    assert found.tolist() == [1.5, -10.0]
    again = safetensors.read(written(tmp_path / "b.safetensors", {"x": found}))["x"]
    assert again.tobytes() == found.tobytes()


def test_a_model_is_saved_and_loaded(tmp_path):
    path = tmp_path / "model.safetensors"
    model, other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
    gc.save(path, model=model)
    gc.load(path, model=other)
    assert (gc.value(other.weight) == gc.value(model.weight)).all()
    with pytest.raises(gc.UserError, match="GC0502"):
        gc.load(path, model=nn.Linear(3, 3))


def claim(**changes):
    return {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changes}


FOUR = b"\x00\x00\x80\x3f"
BROKEN = {
    "empty": b"",
    "short": b"\x08\x00\x00",
    "long header": file_of(claim(), FOUR, length=2**63),
    "header not all there": file_of(claim(), FOUR)[:20],
    "no JSON": file_of(b"{nothing}", FOUR),
    "no text": file_of(b"{\xff\xfe}", FOUR),
    "a list": file_of(b"[1, 2]", FOUR),
    "space first": file_of(b" " + json.dumps(claim()).encode(), FOUR),
    "deep": file_of(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "long number": file_of(b'{"x":' + b"9" * 10_000 + b"}"),
    "name twice": file_of(b'{"x": 1, "x": 2}'),
    "no claim": file_of({"x": [1]}),
    "missing key": file_of({"x": {"dtype": "F32", "shape": [1]}}, FOUR),
    "extra key": file_of(claim(more=1), FOUR),
    "unknown dtype": file_of(claim(dtype="F8_E4M3"), FOUR),
    "dtype of a list": file_of(claim(dtype=["F32"]), FOUR),
    "negative size": file_of(claim(shape=[-1]), FOUR),
    "bool size": file_of(claim(shape=[True]), FOUR),
    "float size": file_of(claim(shape=[1.0]), FOUR),
    "huge size": file_of(claim(shape=[0, 2**80], data_offsets=[0, 0])),
    "huge sizes": file_of(claim(shape=[0, 2**62, 2**62], data_offsets=[0, 0])),
    "many axes": file_of(claim(shape=[1] * 200), FOUR),
    "other size": file_of(claim(shape=[2]), FOUR),
    "past the end": file_of(claim(data_offsets=[4, 8]), FOUR),
    "backward": file_of(claim(data_offsets=[4, 0]), FOUR),
    "three places": file_of(claim(data_offsets=[0, 4, 8]), FOUR),
    "a gap": file_of(claim(data_offsets=[4, 8]), FOUR * 2),
    "more data": file_of(claim(), FOUR * 2),
    "overlap": file_of(claim() | {"y": claim()["x"]}, FOUR * 2),
    "a bool of 2": file_of(claim(dtype="BOOL", data_offsets=[0, 1]), b"\x02"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(tmp_path, name):
    path = tmp_path / "a.safetensors"
    path.write_bytes(BROKEN[name])
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(tmp_path / "nowhere.safetensors")


def test_what_the_format_lacks_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="complex128"):
        written(tmp_path / "a.safetensors", {"x": np.ones(2, complex)})


@given(st.integers(0, 200), st.binary(min_size=1, max_size=12))
@example(8, b"[")
def test_no_change_of_a_file_gets_past_the_reader(tmp_path_factory, place, noise):
    """Whatever is overwritten: arrays of the right kind, or one clear error."""
    path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.bool_([1, 0]), "c": np.float32(1)}
    content = written(path, arrays).read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    try:
        found = training.read_arrays(path)
    except gc.UserError as error:
        code, found = error.code, {}
    else:
        code = ""
    assert code in ("", "GC0501")
    assert all(isinstance(a, np.ndarray) and a.dtype.kind in "biuf" for a in found.values())
