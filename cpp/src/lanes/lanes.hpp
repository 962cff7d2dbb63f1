#pragma once
// The lane type: W instances side by side, one per element of a vector register. Nothing outside this directory mentions an
// instruction set. Everything lives in a namespace named after the instruction set it was compiled for, because the same
// templates are compiled several times with different flags.

#ifndef CVXL_ISA
#define CVXL_ISA editor  // the build names every instruction set; whoever only reads has this one, which nothing links
#endif

#include <cmath>
#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// What the host and a device compile, each for itself. A seam is a function that a device calls: otherwise it would lay out all code
// at every place where it is used, for minutes.
#if defined(__CUDACC__)
#define CVXL_HD __host__ __device__
#define CVXL_SEAM __host__ __device__ __noinline__
#define CVXL_INLINE __host__ __device__ __forceinline__
#else
#define CVXL_HD
#define CVXL_SEAM
#define CVXL_INLINE inline __attribute__((always_inline))
#endif

namespace cvxl::CVXL_ISA {

// Register blocks of the dense kernels: MR × NR accumulators plus operands must fit the register file. And the most lanes worth
// having.
#if defined(__AVX512F__)
inline constexpr int block_rows = 4, block_columns = 4, most_lanes = 8;
inline constexpr int pairs_of_register = 4;  // pairs of lanes that fill a register; 1 where a pair is what is fast
inline constexpr int numbers_of_register = 8;
#else
inline constexpr int block_rows = 4, block_columns = 2, most_lanes = 4;
inline constexpr int pairs_of_register = 1;
#if defined(__AVX__)
inline constexpr int numbers_of_register = 4;
#else
inline constexpr int numbers_of_register = 2;
#endif
#endif

// The element of what comparing doubles gives: the first signed type of that size, which is not everywhere what std::int64_t names.
using Truth = std::conditional_t<sizeof(long) == 8, long, long long>;

#if !defined(__CUDACC__)  // which knows no vectors
template <int W>
struct LaneTypes {
  typedef double Real __attribute__((vector_size(W * 8)));
  typedef Truth Mask __attribute__((vector_size(W * 8)));
  typedef std::uint64_t Bits __attribute__((vector_size(W * 8)));
};
template <int W>
using Real = typename LaneTypes<W>::Real;
template <int W>
using Mask = typename LaneTypes<W>::Mask;  // all bits set where true, as the comparison operators give
template <int W>
using Bits = typename LaneTypes<W>::Bits;  // of numbers; they may wrap around in lanes that are masked later
#endif

template <class V>
inline constexpr int lanes_of = sizeof(V) / 8;

// What belongs to a lane type: the mask of its comparisons. lanes/scalar.hpp has a lane type that is no vector.
template <class V>
struct LaneTraits {
#if !defined(__CUDACC__)
  using Mask = typename LaneTypes<lanes_of<V>>::Mask;
  typedef double Pairs __attribute__((vector_size(16 * pairs_of_register), aligned(16), may_alias));  // as they lie in memory
#endif
};
// How its rounding compares with a double's: thresholds that rounding decides are multiplied by it.
template <class V>
inline constexpr double unit = 1.0;
template <class V>
using MaskOf = typename LaneTraits<V>::Mask;

template <class V>
CVXL_INLINE V splat(double value) {
  return V{} + value;
}

template <class V>
CVXL_INLINE V sqrt(V a) {
  V r;
  for (int l = 0; l < lanes_of<V>; ++l) r[l] = __builtin_sqrt(a[l]);
  return r;
}

template <class V>
CVXL_INLINE V min(V a, V b) {
  return a < b ? a : b;
}

template <class V>
CVXL_INLINE V max(V a, V b) {
  return a > b ? a : b;
}

template <class V>
CVXL_INLINE V abs(V a) {
  return max(-a, a);
}

// Keeps a where the mask is set, b elsewhere.
template <class M, class V>
CVXL_INLINE V select(M mask, V a, V b) {
  return mask ? a : b;
}

template <class M>
CVXL_INLINE bool any(M mask) {
#if defined(__AVX512F__)
  if constexpr (lanes_of<M> == 8)
    return _mm512_test_epi64_mask(reinterpret_cast<__m512i>(mask), reinterpret_cast<__m512i>(mask)) != 0;
#endif
#if defined(__AVX__)
  if constexpr (lanes_of<M> == 4) return !_mm256_testz_si256(reinterpret_cast<__m256i>(mask), reinterpret_cast<__m256i>(mask));
#endif
  Truth r = 0;
  for (int l = 0; l < lanes_of<M>; ++l) r |= mask[l];
  return r != 0;
}

template <class M>
CVXL_INLINE bool all(M mask) {
  return !any(~mask);
}

// True where the value is neither NaN nor infinite. (-fno-math-errno and -fno-trapping-math keep NaN semantics.)
template <class V>
CVXL_INLINE auto finite(V a) {
  return a - a == 0.0;
}

// One pair of lanes as often as a register holds it.
#if defined(__AVX512F__)
CVXL_INLINE Real<8> repeat(Real<2> pair) { return _mm512_maskz_broadcast_f64x2(0xff, pair); }
#elif !defined(__CUDACC__)
CVXL_INLINE Real<2> repeat(Real<2> pair) { return pair; }
#endif

// The register that says how the calling thread rounds, and its bits that flush denormal operands and results to zero.
struct Rounding {
#if defined(__SSE2__)
  using Word = unsigned;
  static constexpr Word flush = 0x8040;
  static Word read() { return _mm_getcsr(); }
  static void write(Word word) { _mm_setcsr(word); }
#elif defined(__aarch64__)
  using Word = std::uint64_t;
  static constexpr Word flush = 1 << 24;
  static Word read() {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void write(Word word) { __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
#else
  using Word = unsigned;
  static constexpr Word flush = 0;
  static Word read() { return 0; }
  static void write(Word) {}
#endif
};

// Flushes denormals to zero for the lifetime of the object and restores the caller's mode: they would cost ten times an operation.
class FlushDenormals {
 public:
  FlushDenormals() : saved_(Rounding::read()) { Rounding::write(saved_ | Rounding::flush); }
  ~FlushDenormals() { Rounding::write(saved_); }

 private:
  Rounding::Word saved_;
};

}  // namespace cvxl::CVXL_ISA
