// What the operations of the graph mean, in C++ that both compilers read alike: the last part of
// both preludes. Integers wrap, division by zero gives 0, remainders take the sign of the divisor,
// shifts by the width or more give 0 or the sign, minimum and maximum pass NaN on: as in NumPy.
// Signed arithmetic that may overflow goes through unsigned types.

// Mathematics ---------------------------------------------------------------------------------------
#define GC_UNARY(name, function)                                            \
  DEVICE float gc_##name(float x) { return GC_LIBRARY(function##f)(x); }    \
  DEVICE double gc_##name(double x) { return GC_LIBRARY(function)(x); }
#define GC_BINARY(name, function)                                                       \
  DEVICE float gc_##name(float x, float y) { return GC_LIBRARY(function##f)(x, y); }    \
  DEVICE double gc_##name(double x, double y) { return GC_LIBRARY(function)(x, y); }

GC_UNARY(exp, exp)
GC_UNARY(exp2, exp2)
GC_UNARY(expm1, expm1)
GC_UNARY(log, log)
GC_UNARY(log2, log2)
GC_UNARY(log10, log10)
GC_UNARY(log1p, log1p)
GC_UNARY(sin, sin)
GC_UNARY(cos, cos)
GC_UNARY(tan, tan)
GC_UNARY(asin, asin)
GC_UNARY(acos, acos)
GC_UNARY(atan, atan)
GC_UNARY(sinh, sinh)
GC_UNARY(cosh, cosh)
GC_UNARY(tanh, tanh)
GC_UNARY(asinh, asinh)
GC_UNARY(acosh, acosh)
GC_UNARY(atanh, atanh)
GC_UNARY(erf, erf)
GC_UNARY(sqrt, sqrt)
GC_UNARY(floor, floor)
GC_UNARY(ceil, ceil)
GC_UNARY(rint, rint)
GC_UNARY(trunc, trunc)
GC_UNARY(abs, fabs)
GC_BINARY(atan2, atan2)
GC_BINARY(pow, pow)
GC_BINARY(fmod, fmod)
GC_BINARY(copysign, copysign)

DEVICE float gc_fma(float x, float y, float z) { return GC_LIBRARY(fmaf)(x, y, z); }
DEVICE double gc_fma(double x, double y, double z) { return GC_LIBRARY(fma)(x, y, z); }

template <class T>
DEVICE bool gc_is_nan(T x) {
  return x != x;
}
template <class T>
DEVICE T gc_min(T a, T b) {
  return a < b || a != a ? a : b;
}
template <class T>
DEVICE T gc_max(T a, T b) {
  return a > b || a != a ? a : b;
}

// Integers ------------------------------------------------------------------------------------------
template <int BYTES>
struct gc_unsigned_of;
template <>
struct gc_unsigned_of<1> {
  typedef u8 type;
};
template <>
struct gc_unsigned_of<2> {
  typedef u16 type;
};
template <>
struct gc_unsigned_of<4> {
  typedef u32 type;
};
template <>
struct gc_unsigned_of<8> {
  typedef u64 type;
};
template <class T>
using gc_unsigned = typename gc_unsigned_of<sizeof(T)>::type;
template <class T>
constexpr bool gc_is_float = gc_same<T, float> || gc_same<T, double>;
template <class T>
constexpr bool gc_is_signed = (T)-1 < (T)0;

// At least 32 bits, so that two u16 do not meet as int, whose product overflows.
template <class T>
using gc_word = typename gc_unsigned_of<(sizeof(T) < 4 ? 4 : sizeof(T))>::type;

template <class T>
DEVICE T gc_add(T a, T b) {
  if constexpr (gc_is_float<T>) return a + b;
  else return (T)((gc_word<T>)a + (gc_word<T>)b);
}
template <class T>
DEVICE T gc_subtract(T a, T b) {
  if constexpr (gc_is_float<T>) return a - b;
  else return (T)((gc_word<T>)a - (gc_word<T>)b);
}
template <class T>
DEVICE T gc_multiply(T a, T b) {
  if constexpr (gc_is_float<T>) return a * b;
  else return (T)((gc_word<T>)a * (gc_word<T>)b);
}
template <class T>
DEVICE T gc_negative(T a) {
  if constexpr (gc_is_float<T>) return -a;
  else return (T)(0 - (gc_word<T>)a);
}
template <class T>
DEVICE T gc_integer_abs(T a) {
  return a < 0 ? gc_negative(a) : a;
}

// Quotient towards minus infinity and remainder with the sign of the divisor. The least number
// divided by -1 wraps; no processor is asked for that, nor for a division by zero.
template <class T>
DEVICE T gc_integer_divide(T a, T b) {
  if (b == 0) return 0;
  if constexpr (gc_is_signed<T>) {
    if (b == (T)-1) return gc_negative(a);
    T quotient = a / b, rest = a % b;
    return quotient - (rest != 0 && (rest < 0) != (b < 0));
  } else {
    return a / b;
  }
}
template <class T>
DEVICE T gc_integer_remainder(T a, T b) {
  if (b == 0) return 0;
  if constexpr (gc_is_signed<T>) {
    if (b == (T)-1) return 0;
    T rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    return a % b;
  }
}

template <class T>
DEVICE T gc_integer_power(T a, T b) {
  if constexpr (gc_is_signed<T>) {
    if (b < 0) return a == 1 || (a == (T)-1 && !(b & 1)) ? 1 : a == (T)-1 ? -1 : 0;
  }
  T result = 1, factor = a;
  for (gc_unsigned<T> left = (gc_unsigned<T>)b; left; left >>= 1) {
    if (left & 1) result = gc_multiply(result, factor);
    factor = gc_multiply(factor, factor);
  }
  return result;
}

// Counts are read as unsigned: a negative one is beyond the width.
template <class T>
DEVICE T gc_left_shift(T a, T b) {
  return (gc_unsigned<T>)b < 8 * sizeof(T) ? (T)((gc_word<T>)a << b) : (T)0;
}
template <class T>
DEVICE T gc_right_shift(T a, T b) {
  if ((gc_unsigned<T>)b < 8 * sizeof(T)) return a >> b;
  return a < 0 ? (T)-1 : (T)0;
}
DEVICE u32 gc_multiply_high(u32 a, u32 b) { return (u64)a * b >> 32; }

// Floats --------------------------------------------------------------------------------------------
template <class T>
DEVICE T gc_float_remainder(T a, T b) {
  T rest = gc_fmod(a, b);
  if (rest == 0) return gc_copysign((T)0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}
// By way of the exact remainder, since a / b may round up to the next integer.
template <class T>
DEVICE T gc_float_divide(T a, T b) {
  if (b == 0) return a / b;
  T rest = gc_fmod(a, b), quotient = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return gc_copysign((T)0, a / b);
  T down = gc_floor(quotient);
  return quotient - down > (T)0.5 ? down + 1 : down;
}

template <class T>
DEVICE T gc_floor_divide(T a, T b) {
  if constexpr (gc_is_float<T>) return gc_float_divide(a, b);
  else return gc_integer_divide(a, b);
}
template <class T>
DEVICE T gc_remainder(T a, T b) {
  if constexpr (gc_is_float<T>) return gc_float_remainder(a, b);
  else return gc_integer_remainder(a, b);
}
template <class T>
DEVICE T gc_power(T a, T b) {
  if constexpr (gc_is_float<T>) return gc_pow(a, b);
  else return gc_integer_power(a, b);
}
template <class T>
DEVICE T gc_sign(T x) {
  if (x != x) return x;
  return x > 0 ? (T)1 : x < 0 ? (T)-1 : (T)0;
}

// Casts ---------------------------------------------------------------------------------------------
// A float that the integer cannot hold becomes the nearest one that it can; NaN becomes 0.
template <class T, class S>
DEVICE T gc_saturated(S x) {
  constexpr int width = 8 * sizeof(T) - gc_is_signed<T>;
  constexpr T highest = (T)(((u64)1 << (width - 1)) - 1 + ((u64)1 << (width - 1)));
  constexpr S limit = (S)((u64)1 << (width - 1)) * 2;  // the first number beyond
  constexpr S least = gc_is_signed<T> ? -limit : 0;
  if (x != x) return 0;
  return x >= limit ? highest : x <= least ? (T)least : (T)x;
}
template <class T, class S>
DEVICE T gc_cast(S x) {
  if constexpr (gc_is_float<S> && !gc_is_float<T>) return gc_saturated<T>(x);
  else return (T)x;
}

// Parts of generated kernels ------------------------------------------------------------------------
template <class T>
DEVICE T gc_infinity() {
  if constexpr (gc_same<T, float>) return gc_bits<float>(0x7f800000u);
  else return gc_bits<double>(0x7ff0000000000000ull);
}
template <class T>
DEVICE T gc_nan() {
  return gc_infinity<T>() - gc_infinity<T>();
}
template <class T>
DEVICE bool gc_is_infinite(T x) {
  return gc_abs(x) == gc_infinity<T>();
}
template <class T>
DEVICE T gc_square(T x) {
  return gc_multiply(x, x);
}
// exp only of numbers below 0, so that nothing overflows
template <class T>
DEVICE T gc_sigmoid(T x) {
  T small = gc_exp(-gc_abs(x));
  return (x < 0 ? small : (T)1) / ((T)1 + small);
}
template <class T>
DEVICE T gc_softplus(T x) {
  return gc_max(x, (T)0) + gc_log1p(gc_exp(-gc_abs(x)));
}

// An index that data decides: a miss is noted in the fault cell, and the first element stands in.
DEVICE i64 gc_checked(i64 index, i64 extent, i64* fault, i64 number) {
  if ((u64)index < (u64)extent) return index;
  *fault = number;
  return 0;
}

// A value folded over the lanes of a warp; every lane gets the result.
template <class T, class F>
DEVICE T gc_reduce_warp(T value, F both) {
  for (i32 mask = 16; mask > 0; mask /= 2) value = both(value, gc_shuffle_xor(value, mask));
  return value;
}
// The same over all threads of a block, whose warps leave their parts in `shared`.
template <class T, class F>
DEVICE T gc_reduce_block(T value, T identity, i32 warps, u8* shared, F both) {
  T* parts = (T*)shared;
  value = gc_reduce_warp(value, both);
  if (gc_lane() == 0) parts[gc_thread() / 32] = value;
  gc_sync();
  value = gc_lane() < warps ? parts[gc_lane()] : identity;
  gc_sync();  // the next value is folded in the same place
  return gc_reduce_warp(value, both);
}

// Operands of warpgroup products --------------------------------------------------------------------
// Where a matrix of 16-bit floats lies in shared memory: PTX ISA, "Matrix Descriptor Format". Bytes
// of swizzle: 0, 32, 64, 128. Both offsets in bytes. `stride` is that of 8 rows, or where rows are
// contiguous (transposed) that of 8 steps of k; `leading` that of 8 steps of k without a swizzle,
// and transposed with one that of as many rows as it has place for. Without a swizzle, transposed,
// `stride` is that of 8 rows and `leading` that of 8 steps of k.
DEVICE u64 gc_descriptor(const void* shared, i32 leading, i32 stride, i32 swizzle) {
  u64 kind = swizzle == 128 ? 1 : swizzle == 64 ? 2 : swizzle == 32 ? 3 : 0;
  return kind << 62 | (u64)(stride >> 4) << 32 | (u64)(leading >> 4) << 16 |
         gc_shared_address(shared) >> 4;
}

// Where an element of a tile lies: the parts of 16 bytes of its lines, which are `Line` bytes long,
// change places, so that neighbouring lines begin in other banks (PTX ISA, "Swizzling Modes"; the
// tile begins at a multiple of 1024).
template <int Line, class T>
DEVICE T* gc_swizzled(T* tile, u32 offset) {
  u32 place = offset * (u32)sizeof(T);
  return (T*)((u8*)tile + (place ^ (place >> 7 & (Line / 16 - 1)) << 4));
}
// The element at (line, place) of slabs of so many lines, whose places are counted through all slabs.
template <int Lines, int Width, class T>
DEVICE T* gc_tile(T* tile, u32 line, u32 place) {
  u32 offset = (place / Width * Lines + line) * Width + place % Width;
  return gc_swizzled<Width * (int)sizeof(T)>(tile, offset);
}
// What tells a product of a warpgroup where a factor lies, from (line, place) of a tile on, whose
// lines are 128 bytes long: address, from slab to slab, from 8 lines to the next, all in 16 bytes
// (PTX ISA, "Matrix Descriptor Format").
template <int Lines, int Width, bool Turned, class T>
DEVICE u64 gc_factor(T* tile, u32 line, u32 place) {
  u32 address = gc_shared_address(tile + (place / Width * Lines + line) * Width + place % Width);
  u64 slabs = Turned ? Lines * 128 / 16 : 1;
  return (u64)1 << 62 | (u64)(8 * 128 / 16) << 32 | slabs << 16 | (address & 0x3ffff) >> 4;
}

// Four values of each of four neighbouring threads, `Step` apart: the n-th of thread t and the t-th
// of thread n change places. First those whose numbers differ in their higher bit.
template <int Step>
DEVICE void gc_turn4(float* x) {
#pragma unroll
  for (i32 bit = 2; bit > 0; bit /= 2) {
    bool high = gc_lane() & bit;
#pragma unroll
    for (i32 n = 0; n < 2; ++n) {
      float& first = x[n * (3 - bit) * Step];
      float& second = x[(n * (3 - bit) + bit) * Step];
      float got = gc_shuffle_xor(high ? first : second, bit);
      if (high) first = got;
      else second = got;
    }
  }
}
