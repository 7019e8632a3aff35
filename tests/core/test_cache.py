"""The disk cache: whole entries or none, whatever happens to the writers and the disk."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from graphc import cache
from graphc.cache import Cache


@pytest.fixture
def store(tmp_path):
    return Cache(tmp_path / "code")


def entries(store):
    return sorted(store.folder.glob("*.object"))


def test_what_was_kept_comes_back(store):
    assert store.get("a") is None
    store.put("a", b"first")
    store.put("b", b"")
    assert (store.get("a"), store.get("b")) == (b"first", b"")
    assert store.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "another's", "garbage"])
def test_damaged_entries_are_deleted_and_made_again(store, damage, caplog):
    store.put("key", b"x" * 1000)
    store.put("other", b"y" * 1000)
    path = store.path("key")
    whole = path.read_bytes()
    broken = {
        "truncated": whole[:500],
        "changed": whole[:-1] + b"z",
        "empty": b"",
        "another's": store.path("other").read_bytes(),
        "garbage": b"\x7fELF" + os.urandom(1000),
    }
    path.write_bytes(broken[damage])
    with caplog.at_level(logging.WARNING):
        assert store.get("key") is None
    assert "damaged" in caplog.text
    assert not path.exists()
    store.put("key", b"new")
    assert store.get("key") == b"new"


def test_least_recently_used_entries_go_first(tmp_path):
    store = Cache(tmp_path, limit=64 * 1000)
    past = time.time() - 1000
    for number in range(100):
        store.put(str(number), b"x" * 1000)
        if store.path(str(number)).exists():
            os.utime(store.path(str(number)), (past + number, past + number))
        assert store.get("0") is not None  # used all the time
    left = [number for number in range(100) if store.get(str(number)) is not None]
    assert sum(path.stat().st_size for path in entries(store)) <= 66 * 1000
    assert left[0] == 0
    assert left[1:] == list(range(100 - len(left) + 1, 100))


def test_what_a_killed_writer_left_is_swept(store):
    store.put("a", b"1")
    old, young = store.folder / ".writing-old", store.folder / ".writing-young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    Cache(store.folder).put("b", b"2")
    assert not old.exists()
    assert young.exists()


WRITER = """
import sys
from pathlib import Path
from graphc.cache import Cache
store = Cache(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    store.put(str(number % 20), bytes([number % 20]) * 300000)
    number += 1
"""


def test_killed_writers_leave_nothing_broken(store, caplog):
    command = [sys.executable, "-c", WRITER, str(store.folder)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        writer.stdout.readline()
    time.sleep(0.2)
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    found = [store.get(str(number)) for number in range(20)]
    assert any(found)
    for number, data in enumerate(found):
        assert data in (None, bytes([number]) * 300000)
    assert "damaged" not in caplog.text


def test_a_folder_that_cannot_be_made_warns_once(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = Cache(tmp_path / "file" / "code")
    for _ in range(3):
        store.put("key", b"code")
        assert store.get("key") is None
    assert caplog.text.count("not kept") == 1


def test_a_folder_open_to_everybody_is_not_trusted(tmp_path, caplog):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    store = Cache(folder)
    store.put("key", b"code")
    assert store.get("key") is None
    assert "everybody" in caplog.text


def test_the_environment_chooses(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "here"))
    monkeypatch.setenv("GRAPHC_CACHE_BYTES", "12345")
    chosen = cache.default()
    assert (chosen.folder, chosen.limit) == (tmp_path / "here", 12345)
    monkeypatch.delenv("GRAPHC_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default().folder == tmp_path / "graphc"
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    assert cache.default() is None
    cache.put("key", b"made")
    assert cache.get("key", bytes) is None


def test_an_entry_that_its_reader_refuses_counts_as_none(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    cache.put("key", b"12 apples")
    assert cache.get("key", bytes) == b"12 apples"
    assert cache.get("key", int) is None
    assert "not what its name says" in caplog.text
