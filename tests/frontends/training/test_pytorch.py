"""PyTorch's checkpoints: read without PyTorch, with PyTorch's results, and nothing in them run."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc import nn, training
from running import assert_close

FILE = Path(__file__).parent / "files" / "pytorch.pt"
"""Made by tools/build_pytorch_file.py."""
F32 = np.arange(6, dtype="<f4")
RAW = F32.tobytes()


class Model(nn.Module):
    """The model of tools/build_pytorch_file.py."""

    def __init__(self):
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.words = nn.Embedding(7, 4)
        self.lstm = nn.LSTM(4, 4, bidirectional=True, batch_first=True)
        self.mixer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.scores = nn.Linear(8, 3)

    def forward(self, images, words):
        places = gc.relu(self.norm(self.conv(images)))
        places = places.reshape((*places.shape[:2], -1)).mT
        states, _ = self.lstm(places + self.words(words))
        return self.scores(self.mixer(states))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_a_model_computes_what_pytorch_computes(backend):
    model = Model().eval()
    model.load_state_dict(training.read_arrays(FILE))
    example = training.read_arrays(FILE, part="example")
    images, words = gc.input("images", (2, 1, 6, 6)), gc.input("words", (2, 9), "int64")
    run = gc.compile([images, words], model(images, words), backend=backend)
    assert_close(run(example["images"], example["words"]), example["outputs"], rtol=1e-5, atol=1e-5)


# Files made by hand -------------------------------------------------------------------------------
def body(value):
    """A plain value as a pickle's instructions, without begin and end."""
    return pickle.dumps(value, 2)[2:-1]


def storage(kind="torch\nFloatStorage", key="0"):
    return (
        b"(" + body("storage") + f"c{kind}\n".encode() + body(key) + body("cpu") + body(6) + b"tQ"
    )


def tensor(shape, strides, offset=0, where=None, function="_rebuild_tensor_v2", rest=b""):
    function = f"ctorch._utils\n{function}\n(".encode()
    place = (storage() if where is None else where) + body(offset)
    return function + place + body(shape) + body(strides) + b"\x89N" + rest + b"tR"


def state(*tensors):
    items = (body(f"w{k}") + made for k, made in enumerate(tensors))
    return b"\x80\x02}(" + b"".join(items) + b"u."


def write(path, program, entries=None, raw=RAW):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        for name, content in {"data/0": raw, **(entries or {})}.items():
            file.writestr(f"archive/{name}", content)
    return path


def found(path, *tensors, **options):
    return training.read_arrays(write(path, state(*tensors), **options))


def test_views_of_one_storage(tmp_path):
    read = found(
        tmp_path / "a.pt",
        tensor((2, 3), (3, 1)),
        tensor((3, 2), (1, 3)),
        tensor((2, 2), (3, 1), 1),
        tensor((), (), 5),
        tensor((4, 0), (1, 1)),
        tensor((2, 3), (0, 1), 3),
    )
    whole = F32.reshape(2, 3)
    for array, expected in zip(
        read.values(),
        [whole, whole.T, whole[:, 1:], F32[5], np.zeros((4, 0)), np.stack([F32[3:]] * 2)],
        strict=True,
    ):
        assert array.shape == expected.shape
        assert array.dtype == np.float32
        assert (array == expected).all()


KINDS = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}


@pytest.mark.parametrize("order", ["little", "big", None])
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_and_orders_of_bytes(tmp_path, kind, order):
    dtype = gc.input("x", (), KINDS[kind]).dtype.numpy
    numbers = np.array([0, 1, 1], dtype)
    words = numbers.view(f"u{dtype.itemsize}")
    raw = words.astype(words.dtype.newbyteorder(">" if order == "big" else "<")).tobytes()
    entries = {} if order is None else {"byteorder": order}
    made = tensor((3,), (1,), where=storage(f"torch\n{kind}Storage"))
    read = found(tmp_path / "a.pt", made, raw=raw, entries=entries)["w0"]
    assert read.dtype == dtype
    assert (read == numbers).all()


def test_dtypes_without_a_storage_of_their_own(tmp_path):
    where = storage("torch.storage\nUntypedStorage")
    rest = b"ctorch\nuint16\n}"
    made = tensor((3,), (1,), where=where, function="_rebuild_tensor_v3", rest=rest)
    read = found(tmp_path / "a.pt", made, raw=b"\1\0\2\0\3\0")["w0"]
    assert read.dtype == np.uint16
    assert read.tolist() == [1, 2, 3]


def test_parameters_and_newer_pickles(tmp_path):
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + tensor((6,), (1,)) + b"\x88NtR"
    named = b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R\x94" + body("w") + parameter + b"s"
    attributes = body({"_metadata": {"version": 1}}) + b"b."
    path = write(tmp_path / "a.pt", b"\x80\x04" + named + attributes)
    assert training.read_arrays(path)["w"].tolist() == F32.tolist()


def nested(**parts):
    items = (body(name) + made for name, made in parts.items())
    return b"\x80\x02}(" + b"".join(items) + b"u."


def test_the_state_dict_among_other_things(tmp_path):
    inner = state(tensor((6,), (1,)))[2:-1]
    program = nested(epoch=body(3), lr=body(0.1), log=body(["a", None, True]), model=inner, x=inner)
    path = write(tmp_path / "a.pt", program)
    assert list(training.read_arrays(path)) == ["w0"]
    assert list(training.read_arrays(path, part="x")) == ["w0"]
    with pytest.raises(gc.UserError, match=r"under 'y'; its keys: 'epoch', 'lr', 'log'"):
        training.read_arrays(path, part="y")
    with pytest.raises(gc.UserError, match="under 'log'"):
        training.read_arrays(path, part="log")
    write(path, nested(epoch=body(3), encoder=inner))
    with pytest.raises(gc.UserError, match="keys: 'epoch', 'encoder'"):
        training.read_arrays(path)


# What is refused ----------------------------------------------------------------------------------
class Attack:
    """Makes a folder when a pickle of it is obeyed."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_is_run(tmp_path, protocol):
    target = tmp_path / "attacked"
    program = pickle.dumps({"w": Attack(target)}, protocol)
    with pytest.raises(gc.UserError, match=r"GC0501.*(posix.mkdir|nt.mkdir|instruction)") as caught:
        training.read_arrays(write(tmp_path / "a.pt", program))
    assert "torch.save(model.state_dict(), path)" in str(caught.value)
    (tmp_path / "b.pt").write_bytes(program)
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(tmp_path / "b.pt")
    assert not target.exists()


GLOBALS = ["os\nsystem", "builtins\neval", "torch\nload", "__main__\nModel", "torch.nn\nLinear"]
GLOBALS += ["collections\nOrderedDict.fromkeys", "torch._utils\n_rebuild_sparse_tensor", "\n"]


@pytest.mark.parametrize("name", GLOBALS)
def test_other_names_are_refused_by_name(tmp_path, name):
    path = write(tmp_path / "a.pt", f"c{name}\n.".encode())
    with pytest.raises(gc.UserError, match=name.replace("\n", r"\.")):
        training.read_arrays(path)


GOOD = tensor((6,), (1,))
BIG = 2**62
REFUSED = {
    "negative size": state(tensor((-1,), (1,))),
    "negative stride": state(tensor((2,), (-1,), 3)),
    "negative offset": state(tensor((1,), (1,), -1)),
    "bools as sizes": state(tensor((True,), (1,))),
    "floats as sizes": state(tensor((1.0,), (1,))),
    "text as shape": state(tensor("3", (1,))),
    "past the end": state(tensor((7,), (1,))),
    "offset past the end": state(tensor((6,), (1,), 1)),
    "stride past the end": state(tensor((2, 3), (4, 1))),
    "huge shape": state(tensor((BIG, BIG), (0, 0))),
    "more bytes than allowed": state(tensor((2**33,), (0,))),
    "huge and empty": state(tensor((0, BIG, BIG), (1, 1, 1))),
    "another number of strides": state(tensor((2, 3), (1,))),
    "many axes": state(tensor((1,) * 65, (1,) * 65)),
    "few arguments": state(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
    "no storage": state(tensor((6,), (1,), where=body(None))),
    "untyped storage": state(tensor((6,), (1,), where=storage("torch.storage\nUntypedStorage"))),
    "odd storage": state(tensor((3,), (1,), where=storage("torch\nDoubleStorage", "odd"))),
    "no dtype": state(tensor((6,), (1,), function="_rebuild_tensor_v3", rest=body("F") + b"}")),
    "missing storage": state(tensor((6,), (1,), where=storage(key="7"))),
    "key that leads out": state(tensor((6,), (1,), where=storage(key="../data.pkl"))),
    "storage of a tuple": state(b"(" + body("storage") + b"tQ"),
    "storage of a dtype that is text": state(b"(" + body(("storage", "F", "0", "cpu", 6)) + b"tQ"),
    "calls a dtype": state(b"ctorch\nfloat32\n)R"),
    "calls a number": state(body(3) + b")R"),
    "calls with a list": state(b"ccollections\nOrderedDict\n]R"),
    "a dict of pairs": state(b"ccollections\nOrderedDict\n(](X\1\0\0\0aK\1eetR"),
    "attributes of an array": state(GOOD + b"}b"),
    "a tuple as key": b"\x80\x02})K\1s.",
    "odd items": b"\x80\x02}(K\1u.",
    "items of a list": b"\x80\x02](K\1K\1u.",
    "appends to a dict": b"\x80\x02}K\1a.",
    "no mark": b"\x80\x02}u.",
    "pops below a mark": b"\x80\x02}(s.",
    "pops from nothing": b"\x80\x02\x85.",
    "memory not filled": b"\x80\x02h\0.",
    "no end": b"\x80\x02}",
    "nothing at the end": b"\x80\x02.",
    "ends in an instruction": b"\x80\x02X\xff\xff\xff\x7fabc",
    "unknown instruction": b"\x80\x02\xff.",
    "no text": b"\x80\x02X\1\0\0\0\xff.",
    "numbers as names": b"\x80\x04K\1K\1\x93.",
    "instance": b"\x80\x02(cos\nsystem\nK\1o.",
    "old instance": b"(S'ls'\nios\nsystem\n.",
    "new object": b"\x80\x02cos\nsystem\n)\x81.",
    "registered": b"\x80\x02\x82\1.",
    "a list": b"\x80\x02].",
    "a number for a tensor": nested(w=body(1)),
    "inside itself": b"\x80\x02}q\0" + body("state_dict") + b"h\0s.",
    "deep": b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
    "empty": b"",
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_refused(tmp_path, name):
    path = write(tmp_path / "a.pt", REFUSED[name], {"data/odd": b"123"})
    with pytest.raises(gc.UserError, match="GC0501"):
        training.read_arrays(path)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"byteorder": "middle"}, "neither little nor big"),
        ({"constants.pkl": b"."}, "TorchScript"),
        ({"more/data.pkl": b"."}, "TorchScript"),
    ],
)
def test_entries_that_change_the_meaning(tmp_path, entries, reason):
    path = write(tmp_path / "a.pt", state(GOOD), entries)
    with pytest.raises(gc.UserError, match=reason):
        training.read_arrays(path)


def test_bools_are_0_or_1(tmp_path):
    made = tensor((2,), (1,), where=storage("torch\nBoolStorage"))
    with pytest.raises(gc.UserError, match="bools"):
        found(tmp_path / "a.pt", made, raw=b"\1\2")


def test_an_endless_pickle_is_refused(tmp_path):
    with pytest.raises(gc.UserError, match="more than the 16777216 allowed"):
        training.read_arrays(write(tmp_path / "a.pt", b"\x80\x02" + b"}" * 2**24 + b"."))


def test_the_old_format_is_named(tmp_path):
    path = tmp_path / "old.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    with pytest.raises(gc.UserError, match=r"PyTorch before 1\.6"):
        training.read_arrays(path)
