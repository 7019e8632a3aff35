// Matrix instructions of warps and warpgroups. A part of runtime.cpp. Which elements a lane holds: PTX ISA,
// "Matrix Fragments for mma.m16n8k8" and "... m16n8k16", and "ldmatrix".
#pragma once

namespace {
float from_bits(u32 bits) {
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}
float from_f16(u16 bits) {
  u32 sign = (u32)(bits & 0x8000) << 16, rest = (u32)(bits & 0x7fff) << 13;
  if (rest >= 0x7c00u << 13) return from_bits(sign | 0x7f800000 | rest);
  float size = from_bits(rest) * 0x1p112f;
  return sign ? -size : size;
}
enum Kind { F16, BF16, TF32 };
float from_half(u16 bits, i32 kind) {
  return kind == F16 ? from_f16(bits) : from_bits((u32)bits << 16);
}

struct Mma {
  float* d;
  const u32 *a, *b;
  i32 kind;
  // Element `place` of a register pair, in words of the kind.
  float word(const u32* registers, int place) const {
    if (kind == TF32) return from_bits(registers[place] & 0xffffe000);
    return from_half(registers[place / 2] >> 16 * (place % 2), kind);
  }
};

// d[16, 8] += a[16, k] b[k, 8]. A lane holds rows lane / 4 and lane / 4 + 8 of a and d, and column
// lane / 4 of b; along k, a register holds what 32 bits can: lane % 4 chooses, and the next register
// follows after four of them.
void multiply(Mma** lanes) {
  bool tf32 = lanes[0]->kind == TF32;
  int pack = tf32 ? 1 : 2, depth = 8 * pack;
  float a[16][16], b[16][8];
  for (int k = 0; k < depth; k++) {
    int lane = k / pack % 4, high = k / pack / 4, part = k % pack;
    for (int row = 0; row < 16; row++) {
      int place = (row / 8 + 2 * high) * pack + part;
      a[row][k] = lanes[row % 8 * 4 + lane]->word(lanes[row % 8 * 4 + lane]->a, place);
    }
    for (int n = 0; n < 8; n++)
      b[k][n] = lanes[n * 4 + lane]->word(lanes[n * 4 + lane]->b, high * pack + part);
  }
  for (int row = 0; row < 16; row++)
    for (int n = 0; n < 8; n++) {
      float sum = 0;
      for (int k = 0; k < depth; k++) sum += a[row][k] * b[k][n];
      lanes[row % 8 * 4 + n / 2]->d[row / 8 * 2 + n % 2] += sum;
    }
}
}  // namespace

API void gc_sim_mma(float* d, const u32* a, const u32* b, i32 kind, i32 line) {
  static const char* const names[] = {"gc_mma_f16", "gc_mma_bf16", "gc_mma_tf32"};
  Mma mine = {d, a, b, kind};
  with_warp(mine, {names[kind], line}, multiply);
}

// Four 8 x 8 matrices of 16-bit words: lane n gives the address of row n % 8 of matrix n / 8, and
// gets two words of row lane / 4 of each, or of the column with that number.
API void gc_sim_load_matrix(u32* result, const void* row, i32 transposed, i32 line) {
  struct Loads {
    u32* result;
    const u16* row;
  } mine = {result, (const u16*)row};
  Place place = {transposed ? "gc_load_matrix4_transposed" : "gc_load_matrix4", line};
  need_shared(place, row, 16, 16);
  reads(row, 16);
  with_warp(mine, place, [=](Loads** lanes) {
    for (int lane = 0; lane < WARP; lane++)
      for (int matrix = 0; matrix < 4; matrix++) {
        u32 words[2];
        for (int part = 0; part < 2; part++) {
          int along = lane / 4, across = lane % 4 * 2 + part;
          if (transposed) std::swap(along, across);
          words[part] = lanes[matrix * 8 + along]->row[across];
        }
        lanes[lane]->result[matrix] = words[0] | words[1] << 16;
      }
  });
}

// Matrices of a warpgroup: PTX ISA, "wgmma.mma_async" -----------------------------------------------
namespace {
// Where elements of a matrix lie: PTX ISA, "Shared Memory Matrix Layout", and its descriptor.
// In 16-byte parts: K-major ones hold 8 elements of one row, others 8 rows of one k.
struct Descriptor {
  u64 bits;
  bool transposed;

  u64 field(int first) const { return (bits >> first & 0x3fff) * 16; }
  u32 swizzle() const {
    static const u32 bytes[] = {0, 128, 64, 32};
    return bytes[bits >> 62];
  }
  u64 offset(u32 row, u32 k) const {
    u64 start = field(0), leading = field(16), stride = field(32), span = swizzle();
    if (!span) {
      u64 part = row / 8 * stride + k / 8 * leading;
      return start + part + (transposed ? k % 8 * 16 + row % 8 * 2 : row % 8 * 16 + k % 8 * 2);
    }
    u64 rows = span / 2;  // of one line of a transposed matrix
    u64 found = transposed
        ? row / rows * leading + k / 8 * stride + k % 8 * span + row % rows * 2
        : row / 8 * stride + row % 8 * span + k * 2;
    return swizzled(start + found, (u32)span);
  }
};

constexpr u32 GROUP = 128, ROWS = 64, DEPTH = 16;

// Element [k][row] of an operand as float.
void gather(const Descriptor& descriptor, u32 rows, i32 kind, float* result, Place place) {
  for (u32 k = 0; k < DEPTH; k++)
    for (u32 row = 0; row < rows; row++) {
      const u8* element = gc_sim.shared + descriptor.offset(row, k);
      need_shared(place, element, 2, 2);
      u16 bits;
      memcpy(&bits, element, 2);
      result[k * rows + row] = from_half(bits, kind);
    }
}

// d[64, n] (+)= a[64, 16] b[16, n]. Warp w holds 16 rows from 16 w; in it a lane holds what it holds
// of the result of mma.m16n8k16, for every 8 columns.
void multiply(const Wgmma& of, Fibre* threads, size_t group, size_t number) {
  static float a[DEPTH * ROWS], b[DEPTH * 256], sum[256];
  Place place = {"gc_wgmma", of.line};
  gather({of.a, (of.transposed & 1) != 0}, ROWS, of.kind, a, place);
  gather({of.b, (of.transposed & 2) != 0}, of.n, of.kind, b, place);
  for (u32 row = 0; row < ROWS; row++) {
    memset(sum, 0, sizeof sum);
    for (u32 k = 0; k < DEPTH; k++)
      for (i32 n = 0; n < of.n; n++) sum[n] += a[k * ROWS + row] * b[k * of.n + n];
    for (i32 n = 0; n < of.n; n++) {
      Fibre& owner = threads[row / 16 * 32 + row % 8 * 4 + n % 8 / 2];
      float& d = owner.wgmmas[group][number].d[n / 8 * 4 + row % 16 / 8 * 2 + n % 2];
      d = (of.keep ? d : 0) + sum[n];
    }
  }
}

// All threads of a warpgroup have given the same instructions: do those of the first groups.
void finish(Fibre* threads, size_t groups, Place place) {
  for (size_t group = 0; group < groups; group++)
    for (size_t number = 0; number < threads->wgmmas[group].size(); number++) {
      const Wgmma& first = threads->wgmmas[group][number];
      for (u32 n = 1; n < GROUP; n++) {
        auto& other = threads[n].wgmmas;
        if (group >= other.size() || number >= other[group].size() ||
            !first.is_like(other[group][number]))
          fail(place, "the threads of the warpgroup gave other instructions than line %d",
               first.line);
      }
      multiply(first, threads, group, number);
    }
}

// What a warpgroup reads, as ThreadSanitizer is told it.
void read_operands(const Wgmma& of) {
  if (!racing || gc_sim.thread % GROUP) return;
  for (int side = 0; side < 2; side++) {
    Descriptor descriptor = {side ? of.b : of.a, (of.transposed >> side & 1) != 0};
    u32 rows = side ? of.n : ROWS;
    for (u32 row = 0; row < rows; row++)
      for (u32 k = 0; k < DEPTH; k++) reads(gc_sim.shared + descriptor.offset(row, k), 2);
  }
}
}  // namespace

API void gc_sim_wgmma_fence(i32) { current().fenced = true; }

API void gc_sim_wgmma(
    float* d, i32 n, u64 a, u64 b, i32 keep, i32 kind, i32 transposed, i32 line) {
  Place place = {kind == F16 ? "gc_wgmma_f16" : "gc_wgmma_bf16", line};
  if (n % 8 || n < 8 || n > 256) fail(place, "%d columns: there are 8, 16, ... 256", n);
  if ((a | b) >> 49 & 7) fail(place, "a descriptor with a base offset");
  if (!current().fenced) fail(place, "gc_wgmma_fence comes before the registers are used");
  auto& groups = current().wgmmas;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({d, a, b, n, keep, kind, transposed, line});
  read_operands(groups.back().back());
}

API void gc_sim_wgmma_commit(i32) {
  auto& groups = current().wgmmas;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

// A group of instructions of a warpgroup ends as a whole, for all of its threads.
API void gc_sim_wgmma_wait(i32 open, i32 line) {
  Place place = {"gc_wgmma_wait", line};
  size_t number = gc_sim.thread / GROUP;
  if ((number + 1) * GROUP > fibres.size()) fail(place, "no whole warpgroup of 128 threads");
  Fibre* threads = &fibres[number * GROUP];
  size_t kept = (size_t)open + 1;  // with the one that is not committed
  size_t groups = current().wgmmas.size() > kept ? current().wgmmas.size() - kept : 0;
  meet(warpgroups[number], GROUP, place, {false, false}, [=] {
    finish(threads, groups, place);
    for (u32 n = 0; n < GROUP; n++)
      threads[n].wgmmas.erase(threads[n].wgmmas.begin(), threads[n].wgmmas.begin() + groups);
  });
  if (!open) current().fenced = false;
}
