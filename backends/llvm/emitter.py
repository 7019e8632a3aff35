"""Writes LLVM IR as text: modules, functions, blocks, loops, memory; `value` has the instructions.

Comes in: calls, in the order in which the code shall run. Goes out: the text of a module, for
`jit.compile_module`. A separate step because text is cheap to append to, easy to look at, and keeps
the code generators free of syntax.

    module = Module(host())
    f = module.function("axpy", [("ptr", "context"), ("i64", "low"), ("i64", "high")])
    context, low, high = f.parameters
    pointers = [f.load(context.element(k, "ptr"), "ptr") for k in range(2)]
    x, y = f.scoped(pointers)                                # they do not overlap
    with f.loop(low, high, step=16) as loop:                 # i64 index, low <= index < high
        a = f.load(x.element(loop.index, "float"), "float", lanes=16)
        b = f.load(y.element(loop.index, "float"), "float", lanes=16)
        f.store(a.fma(2.0, b).maximum(0.0), y.element(loop.index, "float"))
    f.ret()
    text = module.text()

    zero = f.constant(0.0, "float", lanes=16)
    with f.loop(0, n, step=16, carry=[zero]) as loop:        # a reduction
        part = f.load(x.element(loop.index, "float"), "float", lanes=16)
        loop.carry(loop.carried[0] + part)                   # for the next round
    total = loop.results[0].reduce(lambda a, b: a + b)       # valid after the loop

    with f.when(n.compare("sgt", 0)):                        # a guarded block
        f.store(total, y)
    v = f.either(condition, lambda: f.load(p, "float"), lambda: f.constant(0.0, "float"))
    tail = f.lanes_below(index, n, 16)                       # <16 x i1>: index + lane < n
    a = f.load(p, "float", lanes=16, mask=tail)              # masked lanes read as 0
    g = f.gather(x, indices, "float")                        # a vector of i32 or i64 indices
    table = f.table([1.0, 2.0], "double")                    # constant array, a pointer
    local = f.alloca("float", 64)                            # in the entry block
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from graphc.backends.llvm.counted import Loop
from graphc.backends.llvm.machine import Machine, host
from graphc.backends.llvm.value import WIDTH, Value, literal, suffix, type_text

__all__ = ["Emitter", "Loop", "Module", "Value"]

Parameters = Sequence[tuple[str, str]]
"""Base type and name of each parameter."""


class Module:
    """A file of IR under construction: functions, constant tables, declarations, metadata."""

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = machine or host()
        self.functions: list[Emitter] = []
        self._declared: dict[str, None] = {}
        self._tables: dict[str, str] = {}
        self._metadata: dict[str, str] = {}

    def declare(self, signature: str) -> None:
        """Announce a function defined elsewhere, as ``float @f(float)``; repeats are fine."""
        self._declared[signature] = None

    def function(
        self, name: str, parameters: Parameters, returns: str = "void", *, internal: bool = False
    ) -> Emitter:
        """A new function; pointers given to it must not overlap (``noalias``)."""
        made = Emitter(self, name, parameters, returns, internal)
        self.functions.append(made)
        return made

    def table(self, numbers: Sequence[float], base: str) -> str:
        """The name of a constant array, aligned to 64 bytes; equal tables are one."""
        text = ", ".join(f"{base} {literal(number, base)}" for number in numbers)
        body = f"internal unnamed_addr constant [{len(numbers)} x {base}] [{text}], align 64"
        return self._tables.setdefault(body, f"@table.{len(self._tables)}")

    def metadata(self, body: str) -> str:
        """The number, as ``!7``, of a metadata node; ``!self`` in the body is replaced by it."""
        if body not in self._metadata:
            self._metadata[body] = f"!{len(self._metadata)}"
        return self._metadata[body]

    def scopes(self, count: int) -> list[str]:
        """Endings of loads and stores which say that none of these buffers overlaps another."""
        domain = self.metadata(f'distinct !{{!self, !"{len(self._metadata)}"}}')
        nodes = [self.metadata(f'distinct !{{!self, {domain}, !"{k}"}}') for k in range(count)]
        endings = []
        for node in nodes:
            others = self.metadata(f"!{{{', '.join(n for n in nodes if n != node)}}}")
            endings.append(f", !alias.scope {self.metadata(f'!{{{node}}}')}, !noalias {others}")
        return endings

    def text(self) -> str:
        """The whole module as LLVM reads it."""
        parts = [f"{name} = {body}" for body, name in self._tables.items()]
        defined = {function.name for function in self.functions}
        parts += [f"declare {each}" for each in self._declared if _symbol(each) not in defined]
        parts += [function.text() for function in self.functions]
        parts += [f"{n} = {body.replace('!self', n)}" for body, n in self._metadata.items()]
        return "\n".join(parts) + "\n"


def _symbol(signature: str) -> str:
    return signature.split("@", 1)[1].split("(", 1)[0]


class Emitter:
    """A function under construction; what is emitted goes to the current ``block``."""

    def __init__(
        self, module: Module, name: str, parameters: Parameters, returns: str, internal: bool
    ) -> None:
        self.module, self.name, self.returns, self.internal = module, name, returns, internal
        self.parameters = [Value(self, f"%{each}", base) for base, each in parameters]
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.block = self.last_block = "entry"
        self._count = 0

    # Text -----------------------------------------------------------------------------------------
    def fresh(self, hint: str) -> str:
        """A name that no other block or value of this function has."""
        self._count += 1
        return f"{hint}.{self._count}"

    def emit(self, instruction: str, base: str, lanes: int = 0) -> Value:
        """Append an instruction; goes out as its result."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {instruction}")
        return Value(self, name, base, lanes)

    def reserve(self, like: Value) -> Value:
        """A value whose instruction is filled in later (a phi); its line is the last one now."""
        return self.emit("", like.base, like.lanes)

    def effect(self, instruction: str) -> None:
        """Append an instruction that has no result."""
        self.lines.append(f"  {instruction}")

    def text(self) -> str:
        """The finished function."""
        parameters = ", ".join(
            f"ptr noalias {p.name}" if p.base == "ptr" else p.typed for p in self.parameters
        )
        linkage = "internal " if self.internal else ""
        head = f"define {linkage}{self.returns} @{self.name}({parameters}) nounwind {{"
        return "\n".join([head, "entry:", *self.entry, *self.lines, "}"])

    # Values ---------------------------------------------------------------------------------------
    def constant(self, number: float, base: str, lanes: int = 0) -> Value:
        """A literal, in every lane if there are lanes."""
        text = literal(number, base)
        return Value(self, f"splat ({base} {text})" if lanes else text, base, lanes)

    def table(self, numbers: Sequence[float], base: str) -> Value:
        """The address of a constant array of the module."""
        return Value(self, self.module.table(numbers, base), "ptr")

    def iota(self, base: str, lanes: int) -> Value:
        """The vector 0, 1, 2, ... of integers."""
        numbers = ", ".join(f"{base} {k}" for k in range(lanes))
        return Value(self, f"<{numbers}>", base, lanes)

    def lanes_below(self, index: Value, limit: Value | int, lanes: int) -> Value:
        """The mask of lanes k with index + k < limit, for i64s with index <= limit."""
        left = (limit - index) if isinstance(limit, Value) else index.constant(limit) - index
        few = left.compare("slt", lanes).select(left, lanes).convert("trunc", "i32")
        return self.iota("i32", lanes).compare("slt", few)

    def phi(self, arms: Sequence[tuple[Value, str]]) -> Value:
        """The value that belongs to the block control came from; blocks by label, without %."""
        first = arms[0][0]
        text = ", ".join(f"[ {value.name}, %{block} ]" for value, block in arms)
        return self.emit(f"phi {first.type} {text}", first.base, first.lanes)

    # Control --------------------------------------------------------------------------------------
    def label(self, name: str) -> None:
        """Begin a block; the one before must have ended with a jump."""
        self.lines.append(f"{name}:")
        self.block = name

    def jump(self, target: str) -> None:
        self.effect(f"br label %{target}")
        self.last_block = self.block

    def branch(self, condition: Value, then: str, otherwise: str) -> None:
        """End the block with a choice by a scalar i1."""
        self.effect(f"br i1 {condition.name}, label %{then}, label %{otherwise}")
        self.last_block = self.block

    def ret(self, value: Value | None = None) -> None:
        self.effect(f"ret {value.typed}" if value else "ret void")

    def loop(
        self,
        low: Value | int,
        high: Value | int,
        step: Value | int = 1,
        carry: Sequence[Value] = (),
    ) -> Loop:
        """A loop over i64 ``low <= index < high``, compared as signed numbers, by `step`."""
        first, limit, stride = (
            x if isinstance(x, Value) else self.constant(x, "i64") for x in (low, high, step)
        )
        return Loop(self, first, limit, stride, carry)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Code that runs only if the scalar `condition` holds."""
        inside, after = self.fresh("when"), self.fresh("after")
        self.branch(condition, inside, after)
        self.label(inside)
        yield
        self.jump(after)
        self.label(after)

    def either(
        self, condition: Value, chosen: Callable[[], Value], other: Callable[[], Value]
    ) -> Value:
        """The value of one of two pieces of code; the other does not run. `condition` is scalar."""
        (value,) = self.either_of(condition, lambda: [chosen()], lambda: [other()])
        return value

    def either_of(
        self,
        condition: Value,
        chosen: Callable[[], Sequence[Value]],
        other: Callable[[], Sequence[Value]],
    ) -> list[Value]:
        """`either` for code with several values, or none; both pieces have as many."""
        inside, outside, after = self.fresh("then"), self.fresh("else"), self.fresh("after")
        self.branch(condition, inside, outside)
        arms = []
        for name, make in ((inside, chosen), (outside, other)):
            self.label(name)
            values = make()
            arms.append([(value, self.block) for value in values])
            self.jump(after)
        self.label(after)
        return [self.phi(pair) for pair in zip(*arms, strict=True)]

    def call(
        self, function: str | Value, arguments: Sequence[Value], returns: str = "void"
    ) -> Value:
        """Call by symbol (declared here) or address; a void call's result must not be used."""
        typed = ", ".join(argument.typed for argument in arguments)
        if isinstance(function, Value):
            target = function.name
        else:
            target = f"@{function}"
            self.module.declare(f"{returns} {target}({', '.join(a.type for a in arguments)})")
        if returns == "void":
            self.effect(f"call void {target}({typed})")
            return Value(self, "poison", "void")
        return self.emit(f"call {returns} {target}({typed})", returns)

    # Memory: elements have their natural alignment; bools are bytes
    # ------------------------------------------------
    def alloca(self, base: str, count: int = 1, align: int = 64) -> Value:
        """Uninitialised memory on the stack, made once on entry of the function."""
        self._count += 1
        self.entry.append(f"  %v{self._count} = alloca [{count} x {base}], align {align}")
        return Value(self, f"%v{self._count}", "ptr")

    def scoped(self, pointers: Sequence[Value]) -> list[Value]:
        """The pointers, promised to reach none of each other's memory."""
        endings = self.module.scopes(len(pointers)) if len(pointers) > 1 else [""]
        return [Value(self, p.name, "ptr", 0, s) for p, s in zip(pointers, endings, strict=True)]

    def load(
        self,
        pointer: Value,
        base: str,
        lanes: int = 0,
        *,
        mask: Value | None = None,
        align: int = 0,
    ) -> Value:
        """Read `lanes` neighbours (0: one). Lanes outside `mask` read as 0 and touch no memory."""
        if base == "i1":
            return self.load(pointer, "i8", lanes, mask=mask).compare("ne", 0)
        align = align or natural_alignment(base)
        kind = type_text(base, lanes)
        if mask is None:
            text = f"load {kind}, ptr {pointer.name}, align {align}{pointer.scope}"
        else:
            name = f"@llvm.masked.load.{suffix(base, lanes)}.p0"
            self.module.declare(f"{kind} {name}(ptr, i32, <{lanes} x i1>, {kind})")
            arguments = f"ptr {pointer.name}, i32 {align}, {mask.typed}, {kind} zeroinitializer"
            text = f"call {kind} {name}({arguments}){pointer.scope}"
        return self.emit(text, base, lanes)

    def store(
        self,
        value: Value,
        pointer: Value,
        *,
        mask: Value | None = None,
        align: int = 0,
        stream: bool = False,
    ) -> None:
        """Write a scalar or vector; `stream` goes round the caches and needs full `align`."""
        if value.base == "i1":
            value = value.convert("zext", "i8")
        align = align or natural_alignment(value.base)
        if mask is None:
            ending = pointer.scope + (
                f", !nontemporal {self.module.metadata('!{i32 1}')}" if stream else ""
            )
            self.effect(f"store {value.typed}, ptr {pointer.name}, align {align}{ending}")
            return
        mask = self._unforeseen(mask, value.base)
        name = f"@llvm.masked.store.{suffix(value.base, value.lanes)}.p0"
        self.module.declare(f"void {name}({value.type}, ptr, i32, {mask.type})")
        arguments = f"{value.typed}, ptr {pointer.name}, i32 {align}, {mask.typed}"
        self.effect(f"call void {name}({arguments}){pointer.scope}")

    def _unforeseen(self, mask: Value, base: str) -> Value:
        """The same mask, of which LLVM does not know which lanes it has.

        With AVX-512, where LLVM knows that a mask has one lane, it writes a number that it makes
        narrower as wide as it was, so over its neighbours (llvm-project issue 179489, mended in
        February 2026).
        """
        if base not in ("i8", "i16", "i32") or not self.module.machine.has("avx512bw"):
            return mask
        own = [*range(mask.lanes)]
        given = mask.shuffle(own + own[:1] * (8 - len(own))) if len(own) < 8 else mask
        text = f'call {given.type} asm "", "=k,0"({given.typed})'  # a register of 8 lanes or more
        hidden = self.emit(text, "i1", given.lanes)
        return hidden.shuffle(own) if len(own) < 8 else hidden

    def fetch(self, pointer: Value, offset: Value, base: str) -> None:
        """Bring the line of an element into the second cache; it need not exist."""
        name = "@llvm.prefetch.p0"
        self.module.declare(f"void {name}(ptr, i32, i32, i32)")
        address = self.emit(f"getelementptr {base}, {pointer.typed}, {offset.typed}", "ptr")
        self.effect(f"call void {name}({address.typed}, i32 0, i32 2, i32 1)")

    def gather(self, pointer: Value, index: Value, base: str, mask: Value | None = None) -> Value:
        """Elements at the indices, one for each lane; masked lanes read as 0."""
        address = pointer.element(index, base)
        if not address.lanes:
            return self.load(address, base)
        if base == "i1":
            return self.gather(pointer, index, "i8", mask).compare("ne", 0)
        lanes, kind = address.lanes, type_text(base, address.lanes)
        mask = mask or self.constant(1, "i1", lanes)
        name = f"@llvm.masked.gather.{suffix(base, lanes)}.{suffix('ptr', lanes)}"
        self.module.declare(f"{kind} {name}({address.type}, i32, {mask.type}, {kind})")
        align = natural_alignment(base)
        arguments = f"{address.typed}, i32 {align}, {mask.typed}, {kind} zeroinitializer"
        return self.emit(f"call {kind} {name}({arguments}){pointer.scope}", base, lanes)

    def scatter(
        self, value: Value, pointer: Value, index: Value, mask: Value | None = None
    ) -> None:
        """Write each lane to its index, in lane order: of equal indices the last one stays."""
        if value.base == "i1":
            value = value.convert("zext", "i8")
        address = pointer.element(index, value.base)
        if not address.lanes:
            self.store(value, address)
            return
        lanes = address.lanes
        mask = mask or self.constant(1, "i1", lanes)
        name = f"@llvm.masked.scatter.{suffix(value.base, lanes)}.{suffix('ptr', lanes)}"
        self.module.declare(f"void {name}({value.type}, {address.type}, i32, {mask.type})")
        align = natural_alignment(value.base)
        arguments = f"{value.typed}, {address.typed}, i32 {align}, {mask.typed}"
        self.effect(f"call void {name}({arguments}){pointer.scope}")


def natural_alignment(base: str) -> int:
    """Bytes of one element in memory."""
    return 8 if base == "ptr" else max(1, WIDTH[base] // 8)
