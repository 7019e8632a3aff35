"""What stands before the text of a unit: the primitives that the text is written in.

Comes in: the text of a unit. Goes out: C++ to put in front of it. A separate step because both
devices share most of it: types (`types.h`) and what operations mean (`meaning.h`). Between them
stand the primitives themselves: one line of PTX each (`prelude.h`), or calls of the simulator
(`sim/host.h`).

An instruction for matrices of a warpgroup names each of its registers, up to 128. Those of the
widths that a unit uses are printed here.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

PACKAGE = "graphc.backends.cuda"

KINDS = {"f16": 0, "bf16": 1}
_PRODUCT = re.compile(r"\bgc_wgmma_(f16|bf16)<(\d+)")


def part(name: str, package: str = PACKAGE) -> str:
    """A file of the prelude."""
    return resources.files(package).joinpath(name).read_text("utf-8")


@functools.cache
def around(primitives: str, shift: int = 0) -> str:
    """These primitives between types and meaning; compilers report each part by its own name, and
    its lines by their numbers plus ``shift``.
    """
    parts = {
        "types.h": part("types.h"),
        "prelude.h": primitives,
        "meaning.h": part("meaning.h"),
    }
    return "\n".join(f'#line {1 + shift} "{name}"\n{text}' for name, text in parts.items())


def prelude(text: str) -> str:
    """What NVRTC reads before the ``text`` of a unit."""
    products = {(found[1], int(found[2])) for found in _PRODUCT.finditer(text)}
    if not products:
        return around(part("prelude.h"))
    printed = "\n".join(warpgroup_product(*each) for each in sorted(products))
    return around(part("prelude.h")) + f"#ifdef __CUDA_ARCH_FEAT_SM90_ALL\n{printed}\n#endif\n"


def warpgroup_product(kind: str, width: int) -> str:
    """What ``gc_wgmma_<kind><width, A, B>`` calls: d[64, width] = a[64, 16] b[16, width], added to
    d where ``keep`` is not 0. A or B is 1 where the rows of that operand, not its steps along the
    sum, are contiguous (PTX ISA, "wgmma.mma_async", imm-trans-a and imm-trans-b).
    """
    count = width // 2
    registers = ", ".join(f"%{n}" for n in range(count))
    a, b, keep, turn_a, turn_b = (f"%{count + n}" for n in range(5))
    shape = f"m64n{width}k16.f32.{kind}.{kind}"
    outputs = ", ".join(f'"+f"(d[{n}])' for n in range(count))
    return f"""template <int A, int B>
DEVICE void gc_wgmma(gc_product<{KINDS[kind]}, {width}, A, B>, float* d, u64 a, u64 b, i32 keep) {{
  asm volatile(
      "{{ .reg .pred keep; setp.ne.b32 keep, {keep}, 0; wgmma.mma_async.sync.aligned.{shape} "
      "{{{registers}}}, {a}, {b}, keep, 1, 1, {turn_a}, {turn_b}; }}"
      : {outputs}
      : "l"(a), "l"(b), "r"(keep), "n"(A), "n"(B));
}}"""
