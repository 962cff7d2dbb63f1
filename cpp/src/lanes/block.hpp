#pragma once
// Products of panels by blocks that stay in registers.

#include "lanes/constant.hpp"
#include "lanes/lanes.hpp"

#include "cvxl/program.hpp"

namespace cvxl::CVXL_ISA {

// A register block of a matrix product: acc(i, j) = Σ_k operand(k)[i] · T[k · NR + j].
template <class V, int MR, int NR>
struct Block {
  V acc[MR][NR];

  template <class Operand>
  CVXL_INLINE Block(Index terms, const V* T, Operand&& operand) {
    if constexpr (lanes_of<V> == 2 && MR > 1 && MR == pairs_of_register) {
      by_rows(terms, T, operand);
      return;
    }
    for (int i = 0; i < MR; ++i)
      for (int j = 0; j < NR; ++j) acc[i][j] = V{};
    for (Index k = 0; k < terms; ++k, T += NR) {
      const V* p = operand(k);
      for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NR; ++j) acc[i][j] += p[i] * T[j];
    }
  }

 private:
  // Pairs of lanes leave most of a register empty: rows, which lie next to each other, fill it.
  template <class Operand>
  CVXL_INLINE void by_rows(Index terms, const V* T, Operand& operand) {
    using Pairs = typename LaneTraits<V>::Pairs;
    Pairs sum[NR]{};
    for (Index k = 0; k < terms; ++k, T += NR) {
      const Pairs p = *reinterpret_cast<const Pairs*>(operand(k));
      for (int j = 0; j < NR; ++j) sum[j] += p * repeat(T[j]);
    }
    for (int j = 0; j < NR; ++j)
      for (int i = 0; i < MR; ++i) acc[i][j] = V{sum[j][2 * i], sum[j][2 * i + 1]};
  }
};

// Cuts [begin, end) into pieces of Size and a remainder: f(start, Constant<length>).
template <int Size, class F>
CVXL_INLINE void for_pieces(Index begin, Index end, F&& f) {
  for (; begin + Size <= end; begin += Size) f(begin, Constant<Size>{});
  if (begin < end) with_constant<Size>(end - begin, [&](auto length) { f(begin, length); });
}

}  // namespace cvxl::CVXL_ISA
