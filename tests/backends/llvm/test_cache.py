"""What the native backend keeps on disk; the cache itself is tested in `core/test_cache.py`."""

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.machine import named


def test_object_code_of_another_machine_has_another_entry(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    module = Module()
    module.function("nothing", []).ret()
    made = cache.object_code(module.text())
    assert cache.object_code(module.text()) == made
    assert len(list(tmp_path.glob("*.object"))) == 1
    cache.object_code(module.text(), machine=named("x86-64"))
    cache.object_code(module.text(), "full")
    assert len(list(tmp_path.glob("*.object"))) == 3
    assert jit.link([made], ["nothing"])["nothing"] > 0
