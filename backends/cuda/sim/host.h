// The primitives on the CPU: thin, because every unit is compiled with it; the work is done by the
// runtime (runtime.cpp), which is compiled once. A primitive that can fail passes on the line of the
// text that calls it.

#define DEVICE static inline
#define LINE int line = __builtin_LINE()
#define KERNEL(name, threads, blocks) static void name
#define SHARED_MEMORY(name) u8* name = gc_sim_shared()
#define TENSOR_MAP const gc_tensor_map&

// The entry of a unit has a name of its own, since many units share one object. It takes arguments
// as cuLaunchKernel does: the address of each one.
#define EXPORT(name) \
  extern "C" void GC_ENTRY(void** arguments) { gc_invoke(name, arguments); }

// What the tensor memory accelerator knows of an array; device.py writes it. The contiguous axis is
// the first; strides are those of the other axes, in bytes.
struct alignas(64) gc_tensor_map {
  u64 address;
  u64 sizes[3];
  u64 strides[2];
  u32 box[3];
  u32 element_bytes;
  u32 swizzle;
  u32 axes;
};

extern "C" {
struct gc_sim_state {
  i32 thread, block[3];
  u8* shared;
};
extern gc_sim_state gc_sim;
gc_sim_state* gc_sim_now();
void gc_sim_barrier(i32 id, i32 threads, i32 line);
void gc_sim_sync_warp(i32 line);
u64 gc_sim_shuffle(u64 value, i32 from, i32 line);
void gc_sim_copy16(void* shared, const void* global, i32 present, i32 line);
void gc_sim_copy_commit();
void gc_sim_copy_wait(i32 groups, i32 line);
void gc_sim_load_matrix(u32* result, const void* row, i32 transposed, i32 line);
void gc_sim_mma(float* d, const u32* a, const u32* b, i32 kind, i32 line);
void gc_sim_barrier_init(u64* barrier, i32 count, i32 line);
void gc_sim_barrier_arrive(u64* barrier, i32 bytes, i32 line);
void gc_sim_barrier_wait(u64* barrier, i32 parity, i32 line);
void gc_sim_tensor_load(
    void* shared, const gc_tensor_map* map, u64* barrier, i32 c0, i32 c1, i32 c2,
    i32 axes, i32 line);
void gc_sim_wgmma_fence(i32 line);
void gc_sim_wgmma(float* d, i32 n, u64 a, u64 b, i32 keep, i32 kind, i32 transposed, i32 line);
void gc_sim_wgmma_commit(i32 line);
void gc_sim_wgmma_wait(i32 groups, i32 line);
}

template <class A>
struct gc_unqualified {
  typedef A type;
};
template <class A>
struct gc_unqualified<A&> {
  typedef A type;
};

// Braces, so that the arguments are evaluated from left to right.
template <class... A>
struct gc_call {
  gc_call(void (*body)(A...), A... values) { body(values...); }
};
template <class... A>
DEVICE void gc_invoke(void (*body)(A...), void** next) {
  gc_call<A...>{body, *(typename gc_unqualified<A>::type*)*next++...};
}

// Where a thread is. The sanitizer's build asks the runtime, whose accesses it does not see: these
// words change with every switch between threads.
#ifdef __SANITIZE_THREAD__
DEVICE gc_sim_state* gc_sim_here() { return gc_sim_now(); }
#else
DEVICE gc_sim_state* gc_sim_here() { return &gc_sim; }
#endif
DEVICE u8* gc_sim_shared() { return gc_sim_here()->shared; }
DEVICE i32 gc_thread() { return gc_sim_here()->thread; }
DEVICE i32 gc_lane() { return gc_thread() & 31; }
DEVICE i32 gc_block_x() { return gc_sim_here()->block[0]; }
DEVICE i32 gc_block_y() { return gc_sim_here()->block[1]; }
DEVICE i32 gc_block_z() { return gc_sim_here()->block[2]; }

// An array in global memory.
template <class T>
DEVICE T* gc_global(i64 address) {
  return (T*)address;
}

// Barriers ------------------------------------------------------------------------------------------
DEVICE void gc_sync(LINE) { gc_sim_barrier(0, 0, line); }
DEVICE void gc_sync_warp(LINE) { gc_sim_sync_warp(line); }
DEVICE void gc_sync_some(i32 id, i32 threads, LINE) { gc_sim_barrier(id, threads, line); }

// Shuffles ------------------------------------------------------------------------------------------
template <class T>
DEVICE T gc_shuffle(T value, i32 from, LINE) {
  u64 bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = gc_sim_shuffle(bits, from & 31, line);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}
template <class T>
DEVICE T gc_shuffle_xor(T value, i32 mask, LINE) {
  return gc_shuffle(value, gc_lane() ^ mask, line);
}
template <class T>
DEVICE T gc_shuffle_down(T value, i32 count, LINE) {
  i32 from = gc_lane() + count;
  return gc_shuffle(value, from < 32 ? from : gc_lane(), line);
}

// Atomics -------------------------------------------------------------------------------------------
template <class T, class F>
DEVICE T gc_sim_atomic(T* place, F change) {
  T old, made;
  __atomic_load(place, &old, __ATOMIC_RELAXED);
  do made = change(old);
  while (!__atomic_compare_exchange(place, &old, &made, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T>
DEVICE T gc_atomic_add(T* place, T value) {
  return gc_sim_atomic(place, [=](T old) { return old + value; });
}
template <class T>
DEVICE T gc_atomic_min(T* place, T value) {
  return gc_sim_atomic(place, [=](T old) { return old < value || old != old ? old : value; });
}
template <class T>
DEVICE T gc_atomic_max(T* place, T value) {
  return gc_sim_atomic(place, [=](T old) { return old > value || old != old ? old : value; });
}

// Asynchronous copies and matrices of one warp ------------------------------------------------------
DEVICE void gc_copy16(void* shared, const void* global, bool present, LINE) {
  gc_sim_copy16(shared, global, present, line);
}
DEVICE void gc_copy_commit() { gc_sim_copy_commit(); }
template <int N>
DEVICE void gc_copy_wait(LINE) {
  gc_sim_copy_wait(N, line);
}
DEVICE void gc_load_matrix4(u32 r[4], const void* row, LINE) {
  gc_sim_load_matrix(r, row, 0, line);
}
DEVICE void gc_load_matrix4_transposed(u32 r[4], const void* row, LINE) {
  gc_sim_load_matrix(r, row, 1, line);
}
DEVICE void gc_mma_f16(float d[4], const u32 a[4], const u32 b[2], LINE) {
  gc_sim_mma(d, a, b, 0, line);
}
DEVICE void gc_mma_bf16(float d[4], const u32 a[4], const u32 b[2], LINE) {
  gc_sim_mma(d, a, b, 1, line);
}
DEVICE void gc_mma_tf32(float d[4], const u32 a[4], const u32 b[2], LINE) {
  gc_sim_mma(d, a, b, 2, line);
}
DEVICE u32 gc_to_tf32(float x) {  // to nearest, ties away from zero: 10 bits of fraction
  u32 bits = __builtin_bit_cast(u32, x);
  return x != x ? bits : (bits + 0x1000) & 0xffffe000;
}

// Barriers in shared memory, tensor maps, warpgroups ------------------------------------------------
DEVICE void gc_barrier_init(u64* barrier, i32 count, LINE) {
  gc_sim_barrier_init(barrier, count, line);
}
DEVICE void gc_barrier_fence() {}
DEVICE void gc_barrier_arrive(u64* barrier, LINE) { gc_sim_barrier_arrive(barrier, 0, line); }
DEVICE void gc_barrier_expect(u64* barrier, i32 bytes, LINE) {
  gc_sim_barrier_arrive(barrier, bytes, line);
}
DEVICE void gc_barrier_wait(u64* barrier, i32 parity, LINE) {
  gc_sim_barrier_wait(barrier, parity, line);
}
DEVICE void gc_tensor_load(
    void* shared, const gc_tensor_map* map, u64* barrier, i32 c0, i32 c1, LINE) {
  gc_sim_tensor_load(shared, map, barrier, c0, c1, 0, 2, line);
}
DEVICE void gc_tensor_load3(
    void* shared, const gc_tensor_map* map, u64* barrier, i32 c0, i32 c1, i32 c2, LINE) {
  gc_sim_tensor_load(shared, map, barrier, c0, c1, c2, 3, line);
}
DEVICE u32 gc_shared_address(const void* shared) { return (u32)((u8*)shared - gc_sim_shared()); }
DEVICE void gc_wgmma_fence(LINE) { gc_sim_wgmma_fence(line); }
DEVICE void gc_wgmma_commit(LINE) { gc_sim_wgmma_commit(line); }
template <int N>
DEVICE void gc_wgmma_wait(LINE) {
  gc_sim_wgmma_wait(N, line);
}
template <int N, int A = 0, int B = 0>
DEVICE void gc_wgmma_f16(float* d, u64 a, u64 b, i32 keep, LINE) {
  gc_sim_wgmma(d, N, a, b, keep, 0, A | B << 1, line);
}
template <int N, int A = 0, int B = 0>
DEVICE void gc_wgmma_bf16(float* d, u64 a, u64 b, i32 keep, LINE) {
  gc_sim_wgmma(d, N, a, b, keep, 1, A | B << 1, line);
}
template <int N>
DEVICE void gc_registers_up() {}
template <int N>
DEVICE void gc_registers_down() {}

// Bits and narrow floats ----------------------------------------------------------------------------
template <class T, class S>
DEVICE T gc_bits(S value) {
  return __builtin_bit_cast(T, value);
}
DEVICE float gc_from_bf16(u16 bits) { return gc_bits<float>((u32)bits << 16); }
DEVICE u16 gc_to_bf16(float x) {
  u32 bits = gc_bits<u32>(x);
  return x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
DEVICE float gc_from_f16(u16 bits) {
  u32 sign = (u32)(bits & 0x8000) << 16, rest = (u32)(bits & 0x7fff) << 13;
  if (rest >= 0x7c00u << 13) return gc_bits<float>(sign | 0x7f800000 | rest);
  return gc_bits<float>(sign | gc_bits<u32>(gc_bits<float>(rest) * 0x1p112f));
}
DEVICE u16 gc_to_f16(double x) {
  u64 bits = gc_bits<u64>(x);
  u16 sign = bits >> 48 & 0x8000;
  double size = __builtin_fabs(x);
  if (size != size) return sign | 0x7e00;
  if (size >= 65520.0) return sign | 0x7c00;  // half way between the largest number and the next
  if (size < 0x1p-14) return sign | (gc_bits<u64>(size * 0x1p24 + 0x1p52) & 0xfff);  // subnormal
  u64 moved = gc_bits<u64>(size) - ((u64)(1023 - 15) << 52);
  return sign | (moved + ((1ull << 41) - 1) + (moved >> 42 & 1)) >> 42;
}
DEVICE u16 gc_to_f16(float x) { return gc_to_f16((double)x); }

#define GC_LIBRARY(function) __builtin_##function
