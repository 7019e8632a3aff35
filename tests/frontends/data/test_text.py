"""Vocabularies and windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.errors import UserError
from graphc.frontends.data import Vocabulary, batches, read_text, windows


def test_characters():
    vocabulary = Vocabulary.of("hello\nworld")
    assert vocabulary.symbols == ("l", "o", "\n", "d", "e", "h", "r", "w")
    codes = vocabulary.encode("low\n")
    assert codes.dtype == np.int64
    assert codes.tolist() == [0, 1, 7, 2]
    assert vocabulary.decode(codes) == "low\n"
    assert len(vocabulary) == 8


def test_words():
    text = "The cat, the dog; the  end. Ünïcode_2 counts!"
    vocabulary = Vocabulary.of(text, "word")
    assert vocabulary.symbols[0] == "the"
    assert vocabulary.decode(vocabulary.encode(text)) == (
        "The cat , the dog ; the end . Ünïcode_2 counts !"
    )


def test_rare_symbols():
    vocabulary = Vocabulary.of("a b b c c c", "word", least=2, unknown="<unknown>")
    assert vocabulary.symbols == ("<unknown>", "c", "b")
    assert vocabulary.encode("a b c d").tolist() == [0, 2, 1, 0]
    assert vocabulary.decode([[0, 2], [1, 0]]) == "<unknown> b c <unknown>"
    assert Vocabulary.of("a b b c c c", "word", size=2, unknown="?").symbols == ("?", "c")
    assert Vocabulary.of("??a", unknown="?").symbols == ("?", "a")


@given(st.text())
def test_what_is_encoded_is_decoded(text):
    vocabulary = Vocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_nothing():
    vocabulary = Vocabulary(())
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda: Vocabulary(("a", "b", "a")), "GC0104"),
        (lambda: Vocabulary(("a", "b"), unknown="c"), "GC0104"),
        (lambda: Vocabulary.of("a", "syllable"), "GC0104"),
        (lambda: Vocabulary.of("a", least=0), "GC0104"),
        (lambda: Vocabulary.of("a", size=0), "GC0104"),
        (lambda: Vocabulary.of("abc").encode("abd"), "GC0107: 'd' is not in the vocabulary of 3"),
        (lambda: Vocabulary.of("abc").decode([0, 3]), "GC0306"),
        (lambda: Vocabulary.of("abc").decode([-1]), "GC0306"),
        (lambda: windows(np.arange(3), 3), "GC0104"),
        (lambda: windows(np.arange(3), 0), "GC0104"),
        (lambda: windows(np.arange(3), 1, 0), "GC0104"),
        (lambda: windows(np.zeros((3, 3)), 1), "GC0103"),
    ],
)
def test_wrong_use(wrong, code):
    with pytest.raises(UserError, match=code):
        wrong()


def test_windows():
    seen, following = windows(np.arange(8), 3, 2)
    assert seen.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert following.tolist() == [[1, 2, 3], [3, 4, 5], [5, 6, 7]]
    ((x, y),) = batches([seen, following], 3)
    assert (y == x + 1).all()
    assert len(windows(np.arange(8), 7)[0]) == 1


def test_windows_need_no_memory():
    codes = np.arange(10_000_000)
    seen, following = windows(codes, 5000)
    assert seen.shape == (9_995_000, 5000)
    assert np.shares_memory(seen[:1], codes)
    assert following[-1, -1] == codes[-1]


def test_text_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\r\n".encode())
    assert read_text(path) == "é\n"
    with pytest.raises(UserError, match=r"GC0501.*5 bytes|GC0501.*7 bytes"):
        read_text(path, max_bytes=4)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="GC0501"):
        read_text(path)
    with pytest.raises(UserError, match="GC0501"):
        read_text(tmp_path / "missing.txt")
