#pragma once
// Which levels of x86-64 this machine runs: what its processor has and what its system saves of a thread that it switches away from.
// The compilers' __builtin_cpu_supports would ask the same, but older ones know no levels, and on Windows nothing answers it.

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace cvxl {

#if defined(__x86_64__)
struct CpuLeaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
  explicit CpuLeaf(unsigned number) { __get_cpuid_count(number, 0, &a, &b, &c, &d); }
};

// Bits of XCR0 by kind of registers; the instruction needs OSXSAVE.
inline unsigned saved_registers() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

inline bool runs_level(int level) {
  constexpr auto bits = [](auto... which) { return ((1u << which) | ...); };
  constexpr auto has = [](unsigned word, unsigned all) { return (word & all) == all; };
  const CpuLeaf one(1), seven(7), extended(0x80000001);
  // FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT. AVX512F, DQ, CD, BW, VL.
  if (level >= 3 && !(has(one.c, bits(12, 22, 27, 28, 29)) && has(seven.b, bits(3, 5, 8)) && has(extended.c, bits(5))))
    return false;
  if (level >= 4 && !has(seven.b, bits(16, 17, 28, 30, 31))) return false;
  // XMM and YMM; mask registers and the two parts of ZMM, which macOS allows a thread once it uses them.
#if defined(__APPLE__)
  return level < 3 || has(saved_registers(), bits(1, 2));
#else
  return level < 3 || has(saved_registers(), level < 4 ? bits(1, 2) : bits(1, 2, 5, 6, 7));
#endif
}
#endif

}  // namespace cvxl
