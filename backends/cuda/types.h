// The types of generated text: the first part of both preludes.

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

// Neighbours in memory that are read and written in one access of 8 or 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) gc_pack {
  T v[N];
};

// Whether two types are the same one; no header of the standard library is at hand.
template <class A, class B>
constexpr bool gc_same = false;
template <class A>
constexpr bool gc_same<A, A> = true;
