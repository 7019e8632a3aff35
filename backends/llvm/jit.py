"""From IR text to machine code that can be called: parse, optimise, generate, link.

Comes in: the text of a module. Goes out: object code as bytes (what the disk cache keeps), and from
object code the addresses of its functions. Two steps, because a cache hit needs only the second.

Linked code is never unloaded: a worker thread may stand in it when the last Python reference goes
away.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import llvmlite.binding as llvm

from graphc.backends.llvm.machine import Machine, host, target_machine
from graphc.errors import CompilerBug

SHORT = (
    "sroa",
    "new_gvn",
    "simplify_cfg",
    "instruction_combine",
    "loop_simplify",
    "loop_rotate",
)
"""What pays on code that is in vectors already: the speed of -O2 at a fifth of its cost."""

_LINK = threading.Lock()
_NUMBERS = itertools.count()
_KEPT: list[Any] = []


def _parse(text: str, machine: Machine) -> Any:
    """The module with the machine's layout; `CompilerBug` if LLVM refuses the text."""
    generator = target_machine(machine)
    try:
        module = llvm.parse_assembly(text, llvm.create_context())
        module.triple, module.data_layout = machine.triple, str(generator.target_data)
        module.verify()
    except RuntimeError as error:
        raise CompilerBug(f"LLVM refuses the generated code: {error}\n\n{text}") from error
    return module


def _optimise(module: Any, machine: Machine, pipeline: str) -> None:
    if pipeline == "none":
        return
    generator = target_machine(machine)
    builder = llvm.create_pass_builder(generator, llvm.create_pipeline_tuning_options(2))
    if pipeline == "full":
        builder.getModulePassManager().run(module, builder)
        return
    if pipeline != "short":
        raise CompilerBug(f"unknown pipeline {pipeline!r}")
    passes = llvm.create_new_module_pass_manager()
    for name in SHORT:
        getattr(passes, f"add_{name}_pass")()
    passes.run(module, builder)


def _prepare(text: str, machine: Machine | None, pipeline: str) -> tuple[Any, Any]:
    """The optimised module, and the code generator for it."""
    machine = machine or host()
    module = _parse(text, machine)
    _optimise(module, machine, pipeline)
    return module, target_machine(machine)


def object_code(text: str, pipeline: str = "short", machine: Machine | None = None) -> bytes:
    """Object code for a module of IR text. `pipeline` is "none", "short" or "full" (LLVM's -O2).

    Raises `CompilerBug` if LLVM cannot read the text.
    """
    module, generator = _prepare(text, machine, pipeline)
    message = ctypes.c_char_p()
    memory = _generator()(generator, module, 1, ctypes.byref(message))
    if not memory:
        raise CompilerBug(f"LLVM generates no code: {message.value!r}")
    library = llvm.ffi.lib
    try:
        start, size = library.LLVMPY_GetBufferStart(memory), library.LLVMPY_GetBufferSize(memory)
        return ctypes.string_at(start, size)
    finally:
        library.LLVMPY_DisposeMemoryBuffer(memory)


@functools.cache
def _generator() -> Any:
    """LLVM's code generation without llvmlite's lock, which lets one thread at a time into LLVM.

    LLVM itself only asks that threads share no context and no generator, and they do not. The rest
    is quick, and goes through the lock; so does all where llvmlite does not say what it has loaded.
    """
    locked = llvm.ffi.lib.LLVMPY_TargetMachineEmitToMemory
    path = getattr(llvm.ffi.lib, "_name", None)
    if path is None:
        return locked
    free = ctypes.CDLL(path).LLVMPY_TargetMachineEmitToMemory
    free.argtypes, free.restype = locked.argtypes, locked.restype
    return free


def assembly(text: str, pipeline: str = "short", machine: Machine | None = None) -> str:
    """The machine instructions of a module, as text."""
    module, generator = _prepare(text, machine, pipeline)
    return str(generator.emit_assembly(module))


def optimised(text: str, pipeline: str = "short", machine: Machine | None = None) -> str:
    """The IR as the code generator sees it."""
    return str(_prepare(text, machine, pipeline)[0])


@functools.cache
def _linker() -> Any:
    """The process-wide linker; some float64 functions need the C library's mathematics."""
    name = ctypes.util.find_library("m")
    if name:
        _KEPT.append(ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL))
    target_machine(host())
    return llvm.create_lljit_compiler()


def link(
    objects: Sequence[bytes], exports: Sequence[str], symbols: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Load object code into the process; goes out as the addresses of the exported functions.

    Objects see each other's functions, those of the process, and `symbols` (name to address).
    Raises `CompilerBug` when a symbol is missing.
    """
    builder = llvm.JITLibraryBuilder()
    for each in objects:
        builder.add_object_img(each)
    builder.add_current_process()
    for name, address in (symbols or {}).items():
        builder.import_symbol(name, address)
    for name in exports:
        builder.export_symbol(name)
    with _LINK:
        try:
            tracker = builder.link(_linker(), f"graphc.{next(_NUMBERS)}")
        except RuntimeError as error:
            raise CompilerBug(f"generated code does not link: {error}") from error
        _KEPT.append(tracker)
    return {name: tracker[name] for name in exports}


def compile_module(
    text: str,
    exports: Sequence[str],
    symbols: Mapping[str, int] | None = None,
    pipeline: str = "short",
) -> dict[str, int]:
    """`object_code` and `link` in one: IR text to the addresses of its functions."""
    return link([object_code(text, pipeline)], exports, symbols)
