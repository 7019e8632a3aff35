// The primitives on a GPU: an intrinsic or one line of PTX each. No header is needed, so NVRTC needs
// no folders. Instructions and their operands: PTX ISA, chapter "Instruction Set". What an
// architecture lacks is left out: a text that uses it does not compile for it.

#define DEVICE static __device__ __forceinline__
#define KERNEL(name, threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks) name
#define EXPORT(name)
#define TENSOR_MAP const __grid_constant__ gc_tensor_map
#define SHARED_MEMORY(name)                                     \
  extern __shared__ __align__(1024) unsigned char gc_shared[];  \
  u8* name = gc_shared

// Opaque: the driver writes it (cuTensorMapEncodeTiled).
struct alignas(64) gc_tensor_map {
  u64 opaque[16];
};

DEVICE i32 gc_thread() { return (i32)threadIdx.x; }
DEVICE i32 gc_lane() { return (i32)(threadIdx.x & 31); }
DEVICE i32 gc_block_x() { return (i32)blockIdx.x; }
DEVICE i32 gc_block_y() { return (i32)blockIdx.y; }
DEVICE i32 gc_block_z() { return (i32)blockIdx.z; }

// An array in global memory: there an address is what it is elsewhere, but the compiler knows more.
template <class T>
DEVICE T* gc_global(i64 address) {
  return (T*)__cvta_global_to_generic((size_t)address);
}

// Barriers ------------------------------------------------------------------------------------------
DEVICE void gc_sync() { __syncthreads(); }
DEVICE void gc_sync_warp() { __syncwarp(); }
DEVICE void gc_sync_some(i32 id, i32 threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Shuffles: the intrinsics know 4 and 8 bytes -------------------------------------------------------
#define GC_SHUFFLE(name, intrinsic)                                  \
  template <class T>                                                 \
  DEVICE T name(T value, i32 other) {                                \
    if constexpr (sizeof(T) >= 4) {                                  \
      return intrinsic(0xffffffffu, value, other);                   \
    } else {                                                         \
      return (T)intrinsic(0xffffffffu, (i32)value, other);           \
    }                                                                \
  }
GC_SHUFFLE(gc_shuffle, __shfl_sync)
GC_SHUFFLE(gc_shuffle_xor, __shfl_xor_sync)
GC_SHUFFLE(gc_shuffle_down, __shfl_down_sync)

// Bits and narrow floats ----------------------------------------------------------------------------
template <class T, class S>
DEVICE T gc_bits(S value) {
  static_assert(sizeof(T) == sizeof(S), "the same bits");
  T result;
  memcpy(&result, &value, sizeof(T));
  return result;
}
DEVICE float gc_from_f16(u16 bits) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
  return result;
}
DEVICE u16 gc_to_f16(float x) {
  u16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(x));
  return result;
}
DEVICE u16 gc_to_f16(double x) {
  u16 result;
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(result) : "d"(x));
  return result;
}
DEVICE float gc_from_bf16(u16 bits) { return __uint_as_float((u32)bits << 16); }
DEVICE u16 gc_to_bf16(float x) {
#if __CUDA_ARCH__ >= 800
  u16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(x));
  return result;
#else
  u32 bits = __float_as_uint(x);
  return (u16)(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

// Atomics -------------------------------------------------------------------------------------------
// Those of the device where it has one, else compare and swap until nobody came between.
template <class T, class F>
DEVICE T gc_atomic(T* place, F change) {
  using Word = u64;
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "words");
  if constexpr (sizeof(T) == 4) {
    u32 old = *(volatile u32*)place, seen;
    do {
      seen = old;
      old = atomicCAS((u32*)place, seen, gc_bits<u32>(change(gc_bits<T>(seen))));
    } while (old != seen);
    return gc_bits<T>(old);
  } else {
    Word old = *(volatile Word*)place, seen;
    do {
      seen = old;
      old = atomicCAS((Word*)place, seen, gc_bits<Word>(change(gc_bits<T>(seen))));
    } while (old != seen);
    return gc_bits<T>(old);
  }
}
DEVICE float gc_atomic_add(float* place, float value) { return atomicAdd(place, value); }
DEVICE double gc_atomic_add(double* place, double value) { return atomicAdd(place, value); }
DEVICE i32 gc_atomic_add(i32* place, i32 value) { return atomicAdd(place, value); }
DEVICE u32 gc_atomic_add(u32* place, u32 value) { return atomicAdd(place, value); }
DEVICE u64 gc_atomic_add(u64* place, u64 value) { return atomicAdd(place, value); }
DEVICE i64 gc_atomic_add(i64* place, i64 value) {
  return (i64)atomicAdd((u64*)place, (u64)value);
}
#define GC_EXTREMES(T)                                                              \
  DEVICE T gc_atomic_min(T* place, T value) { return atomicMin(place, value); }     \
  DEVICE T gc_atomic_max(T* place, T value) { return atomicMax(place, value); }
GC_EXTREMES(i32)
GC_EXTREMES(u32)
GC_EXTREMES(i64)
GC_EXTREMES(u64)
template <class T>
DEVICE T gc_atomic_min(T* place, T value) {
  return gc_atomic(place, [=](T old) { return old < value || old != old ? old : value; });
}
template <class T>
DEVICE T gc_atomic_max(T* place, T value) {
  return gc_atomic(place, [=](T old) { return old > value || old != old ? old : value; });
}

// Asynchronous copies and matrices of one warp ------------------------------------------------------
DEVICE u32 gc_shared_address(const void* shared) { return (u32)__cvta_generic_to_shared(shared); }

DEVICE void gc_load_matrix4(u32 r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(gc_shared_address(row))
               : "memory");
}
DEVICE void gc_load_matrix4_transposed(u32 r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(gc_shared_address(row))
               : "memory");
}

#if __CUDA_ARCH__ >= 800
// Where the source is not present, zeros are written: no byte of it is read.
DEVICE void gc_copy16(void* shared, const void* global, bool present) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(gc_shared_address(shared)),
               "l"(global), "r"(present ? 16 : 0)
               : "memory");
}
DEVICE void gc_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
DEVICE void gc_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// d += a b, of one warp; which elements a lane holds: PTX ISA, "Matrix Fragments for mma".
#define GC_MMA(name, shape)                                                                  \
  DEVICE void name(float d[4], const u32 a[4], const u32 b[2]) {                             \
    asm volatile("mma.sync.aligned." shape                                                   \
                 " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"          \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                            \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));        \
  }
GC_MMA(gc_mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
GC_MMA(gc_mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
GC_MMA(gc_mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")

DEVICE u32 gc_to_tf32(float x) {
  u32 result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
  return result;
}
#endif

#if __CUDA_ARCH__ >= 900
// Barriers in shared memory: PTX ISA, "mbarrier".
DEVICE void gc_barrier_init(u64* barrier, i32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(gc_shared_address(barrier)),
               "r"(count)
               : "memory");
}
// What was initialised can be seen by the tensor memory accelerator; then gc_sync, for all others.
DEVICE void gc_barrier_fence() {
  asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
}
DEVICE void gc_barrier_arrive(u64* barrier) {
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(
                   gc_shared_address(barrier))
               : "memory");
}
// Arrive, and say how many bytes will.
DEVICE void gc_barrier_expect(u64* barrier, i32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(
                   gc_shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
// Wait for the end of the phase with this parity: 0 for the first one.
DEVICE void gc_barrier_wait(u64* barrier, i32 parity) {
  asm volatile(
      "{ .reg .pred done; again: "
      "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%0], %1; "
      "@!done bra again; }" ::"r"(gc_shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// Boxes of an array, their first element at these coordinates: PTX ISA, "cp.async.bulk.tensor".
DEVICE void gc_tensor_load(void* shared, const gc_tensor_map* map, u64* barrier, i32 c0, i32 c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(gc_shared_address(shared)),
      "l"(map), "r"(gc_shared_address(barrier)), "r"(c0), "r"(c1)
      : "memory");
}
DEVICE void gc_tensor_load3(
    void* shared, const gc_tensor_map* map, u64* barrier, i32 c0, i32 c1, i32 c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(gc_shared_address(shared)),
      "l"(map), "r"(gc_shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Matrices of a warpgroup; those of every width are printed by prelude.py: PTX ISA, "wgmma".
DEVICE void gc_wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void gc_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
DEVICE void gc_wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
template <int N>
DEVICE void gc_registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
DEVICE void gc_registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int KIND, int N, int A, int B>
struct gc_product {};
template <int N, int A = 0, int B = 0>
DEVICE void gc_wgmma_f16(float* d, u64 a, u64 b, i32 keep) {
  gc_wgmma(gc_product<0, N, A, B>{}, d, a, b, keep);
}
template <int N, int A = 0, int B = 0>
DEVICE void gc_wgmma_bf16(float* d, u64 a, u64 b, i32 keep) {
  gc_wgmma(gc_product<1, N, A, B>{}, d, a, b, keep);
}
#endif

#define GC_LIBRARY(function) function
