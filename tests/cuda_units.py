"""Kernels written by hand in the language of generated text: one for each group of primitives.

They are what the simulator and the compiler for GPUs are tested with, whatever the generator does.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.device import Unit

SOFTMAX = Unit(
    "softmax",
    """KERNEL(softmax, 64, 1)(const float* __restrict__ x, float* __restrict__ y) {
  SHARED_MEMORY(shared);
  float* sums = (float*)shared;
  const i32 t = gc_thread();
  const float v = gc_exp(x[gc_block_x() * 64 + t]);
  float sum = v;
  for (i32 n = 16; n; n /= 2) sum += gc_shuffle_xor(sum, n);
  if (gc_lane() == 0) sums[t / 32] = sum;
  gc_sync();
  y[gc_block_x() * 64 + t] = v / (sums[0] + sums[1]);
}
EXPORT(softmax)
""",
)

TILED = Unit(
    "tiled",
    """// c[64, 64] = a[64, 48] b[48, 64]: 32 x 32 tiles, 16 steps of the sum at once
KERNEL(tiled, 64, 1)(const float* __restrict__ a, const float* __restrict__ b,
                     float* __restrict__ c) {
  SHARED_MEMORY(shared);
  float* left = (float*)shared;
  float* right = left + 16 * 33;
  const i32 t = gc_thread(), row = gc_block_y() * 32, column = gc_block_x() * 32;
  float sum[4][4] = {};
  for (i32 first = 0; first < 48; first += 16) {
    for (i32 part = 0; part < 2; ++part) {
      const i32 n = t + 64 * part;
      const gc_pack<float, 4> x =
          *(const gc_pack<float, 4>*)(a + (row + n / 4) * 48 + first + n % 4 * 4);
      for (i32 k = 0; k < 4; ++k) left[(n % 4 * 4 + k) * 33 + n / 4] = x.v[k];
      *(gc_pack<float, 4>*)(right + n / 8 * 32 + n % 8 * 4) =
          *(const gc_pack<float, 4>*)(b + (first + n / 8) * 64 + column + n % 8 * 4);
    }
    gc_sync();
#pragma unroll
    for (i32 k = 0; k < 16; ++k)
      for (i32 i = 0; i < 4; ++i)
        for (i32 j = 0; j < 4; ++j)
          sum[i][j] =
              gc_fma(left[k * 33 + t / 8 * 4 + i], right[k * 32 + t % 8 * 4 + j], sum[i][j]);
    gc_sync();
  }
  for (i32 i = 0; i < 4; ++i)
    for (i32 j = 0; j < 4; ++j) c[(row + t / 8 * 4 + i) * 64 + column + t % 8 * 4 + j] = sum[i][j];
}
EXPORT(tiled)
""",
)


def fragments(kind: str) -> Unit:
    """d[16, 8] = a[16, k] b[k, 8] by one warp: k is 8 for tf32 and 16 for "f16" and "bf16", whose
    operands come through `ldmatrix`: a by rows, b transposed.
    """
    if kind == "tf32":
        body = """  for (i32 n = 0; n < 4; ++n)
    a[n] = gc_to_tf32(((const float*)x)[(lane / 4 + n % 2 * 8) * 8 + lane % 4 + n / 2 * 4]);
  for (i32 n = 0; n < 2; ++n)
    b[n] = gc_to_tf32(((const float*)y)[(lane % 4 + n * 4) * 8 + lane / 4]);"""
    else:
        body = """  gc_pack<u16, 8>* left = (gc_pack<u16, 8>*)shared;   // [16][2]
  gc_pack<u16, 8>* right = left + 32;                 // [16], twice: four matrices are loaded
  left[lane] = ((const gc_pack<u16, 8>*)x)[lane];
  right[lane] = ((const gc_pack<u16, 8>*)y)[lane % 16];
  gc_sync_warp();
  gc_load_matrix4(a, left + lane % 16 * 2 + lane / 16);
  u32 both[4];
  gc_load_matrix4_transposed(both, right + lane);
  b[0] = both[0];
  b[1] = both[1];"""
    return Unit(
        kind,
        f"""KERNEL({kind}, 32, 1)(const void* __restrict__ x, const void* __restrict__ y,
                   float* __restrict__ z) {{
  SHARED_MEMORY(shared);
  const i32 lane = gc_lane();
  u32 a[4], b[2];
{body}
  float d[4] = {{}};
  gc_mma_{kind}(d, a, b);
  for (i32 n = 0; n < 4; ++n) z[(lane / 4 + n / 2 * 8) * 8 + lane % 4 * 2 + n % 2] = d[n];
}}
EXPORT({kind})
""",
    )


PIPELINE = Unit(
    "pipeline",
    """// c[40, 64] = a[40, 96] b[64, 96]^T in bfloat16: three stages of 32 steps of the sum
KERNEL(pipeline, 128, 1)(const u16* __restrict__ a, const u16* __restrict__ b,
                         float* __restrict__ c) {
  SHARED_MEMORY(shared);
  const i32 t = gc_thread(), lane = gc_lane(), warp = t / 32;
  auto place = [=](i32 stage, i32 row, i32 part) {
    return (u16*)shared + stage * 4096 + row * 32 + (part ^ (row >> 1 & 3)) * 8;
  };
  auto load = [=](i32 stage, i32 first) {
    for (i32 half = 0; half < 2; ++half) {
      const i32 row = t / 4 + half * 32, part = t % 4;
      gc_copy16(place(stage, row, part), a + row * 96 + first + part * 8, row < 40);
      gc_copy16(place(stage, 64 + row, part), b + row * 96 + first + part * 8, true);
    }
    gc_copy_commit();
  };
  float sum[8][4] = {};
  load(0, 0);
  load(1, 32);
  for (i32 step = 0; step < 3; ++step) {
    gc_copy_wait<1>();
    gc_sync();
    if (step == 0) load(2, 64);
    else gc_copy_commit();
    for (i32 k = 0; k < 2; ++k) {
      u32 x[4], y[4];
      gc_load_matrix4(x, place(step, warp * 16 + lane % 16, k * 2 + lane / 16));
      for (i32 j = 0; j < 4; ++j) {
        const i32 row = 64 + j * 16 + lane % 8 + lane / 16 * 8;
        gc_load_matrix4(y, place(step, row, k * 2 + lane / 8 % 2));
        gc_mma_bf16(sum[2 * j], x, y);
        gc_mma_bf16(sum[2 * j + 1], x, y + 2);
      }
    }
  }
  gc_copy_wait<0>();
  for (i32 j = 0; j < 8; ++j)
    for (i32 n = 0; n < 4; ++n) {
      const i32 row = warp * 16 + lane / 4 + n / 2 * 8;
      if (row < 40) c[row * 64 + j * 8 + lane % 4 * 2 + n % 2] = sum[j][n];
    }
}
EXPORT(pipeline)
""",
)

DEPTH = 64
"""The length of the sums of `Warpgroup`."""


@dataclass(frozen=True)
class Warpgroup:
    """d[64, width] = a[64, 64] b[64, width] by the tensor memory accelerator and one warpgroup.

    ``turned`` says for each operand whether its rows, not the steps of the sum, are contiguous;
    ``span`` is the bytes of swizzle.
    """

    kind: str
    width: int
    turned: tuple[bool, bool]
    span: int

    @property
    def line(self) -> int:
        """Bytes of a line of a box."""
        return self.span or 16

    @property
    def shared_bytes(self) -> int:
        return 2 * DEPTH * (64 + self.width) + 8

    def rows(self, side: int) -> int:
        return (64, self.width)[side]

    def box(self, side: int) -> tuple[int, int]:
        """Elements along the contiguous axis, and lines."""
        return self.line // 2, DEPTH if self.turned[side] else self.rows(side)

    def loads(self, side: int) -> str:
        """All boxes of an operand, one behind the other."""
        inner, lines = self.box(side)
        count = (self.rows(side) if self.turned[side] else DEPTH) // inner
        name = "ab"[side]
        return (
            f"for (i32 j = 0; j < {count}; ++j)\n"
            f"      gc_tensor_load({name} + j * {lines * self.line}, &map_{name}, full, "
            f"j * {inner}, 0);"
        )

    def descriptor(self, side: int) -> str:
        """Where the 16 steps of the sum from 16 k lie."""
        name, rows, line = "ab"[side], self.rows(side), self.line
        if self.turned[side]:
            offsets = (DEPTH * line, 8 * line) if self.span else (128, DEPTH * 16)
            return (
                f"gc_descriptor({name} + k * {16 * line}, {offsets[0]}, {offsets[1]}, {self.span})"
            )
        if self.span:
            start = f"{name} + k * 32 / {line} * {rows * line} + k * 32 % {line}"
            return f"gc_descriptor({start}, 16, {8 * line}, {line})"
        return f"gc_descriptor({name} + k * {32 * rows}, {16 * rows}, 128, 0)"

    @property
    def unit(self) -> Unit:
        turned = ", ".join(str(int(x)) for x in self.turned)
        return Unit(
            "warpgroup",
            f"""KERNEL(warpgroup, 128, 1)(TENSOR_MAP map_a, TENSOR_MAP map_b,
                          float* __restrict__ c) {{
  SHARED_MEMORY(shared);
  u8* a = shared;
  u8* b = shared + {2 * DEPTH * 64};
  u64* full = (u64*)(shared + {self.shared_bytes - 8});
  if (gc_thread() == 0) {{
    gc_barrier_init(full, 1);
    gc_barrier_fence();
  }}
  gc_sync();
  if (gc_thread() == 0) {{
    gc_barrier_expect(full, {self.shared_bytes - 8});
    {self.loads(0)}
    {self.loads(1)}
  }}
  gc_barrier_wait(full, 0);
  float d[{self.width // 2}];
  gc_wgmma_fence();
#pragma unroll
  for (i32 k = 0; k < {DEPTH // 16}; ++k)
    gc_wgmma_{self.kind}<{self.width}, {turned}>(d, {self.descriptor(0)},
        {self.descriptor(1)}, k > 0);
  gc_wgmma_commit();
  gc_wgmma_wait<0>();
  const i32 row = gc_thread() / 32 * 16 + gc_lane() / 4;
#pragma unroll
  for (i32 j = 0; j < {self.width // 8}; ++j)
#pragma unroll
    for (i32 n = 0; n < 4; ++n)
      c[(row + n / 2 * 8) * {self.width} + j * 8 + gc_lane() % 4 * 2 + n % 2] = d[4 * j + n];
}}
EXPORT(warpgroup)
""",
        )


RING = Unit(
    "ring",
    """// y[n] = sum over 6 tiles of x[6, 32, 64][n]: a warp asks for tiles, two others add them up
KERNEL(ring, 96, 1)(TENSOR_MAP map, float* __restrict__ y) {
  SHARED_MEMORY(shared);
  u64* full = (u64*)(shared + 2 * 8192);
  u64* empty = full + 2;
  const i32 t = gc_thread();
  if (t == 0) {
    for (i32 n = 0; n < 2; ++n) {
      gc_barrier_init(full + n, 1);
      gc_barrier_init(empty + n, 2);
    }
    gc_barrier_fence();
  }
  gc_sync();
  i32 slot = 0, phase = 0;
  if (t == 0) {
    for (i32 tile = 0; tile < 6; ++tile) {
      gc_barrier_wait(empty + slot, phase ^ 1);
      gc_barrier_expect(full + slot, 8192);
      gc_tensor_load3(shared + slot * 8192, &map, full + slot, 0, 0, tile);
      if (++slot == 2) {
        slot = 0;
        phase ^= 1;
      }
    }
  }
  if (t >= 32) {
    float sum = 0;
    for (i32 tile = 0; tile < 6; ++tile) {
      gc_barrier_wait(full + slot, phase);
      for (i32 row = 0; row < 32; ++row) sum += ((float*)(shared + slot * 8192))[row * 64 + t - 32];
      gc_sync_warp();
      if (gc_lane() == 0) gc_barrier_arrive(empty + slot);
      if (++slot == 2) {
        slot = 0;
        phase ^= 1;
      }
    }
    y[t - 32] = sum;
  }
}
EXPORT(ring)
""",
)
