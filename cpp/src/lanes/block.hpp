#pragma once
// Products of panels by blocks that stay in registers.

#include "lanes/constant.hpp"
#include "lanes/scalar.hpp"

#include "cvxl/program.hpp"

namespace cvxl::CVXL_ISA {

// The rows and columns of a register block. A number fills no register: rows, which lie next to each other, do.
template <class V>
inline constexpr int rows_of_block = block_rows;
template <class V>
inline constexpr int columns_of_block = block_columns;
template <>
inline constexpr int rows_of_block<Number> = 2 * numbers_of_register;
template <>
inline constexpr int columns_of_block<Number> = 4;

// A register block of a product of matrices of numbers, operand(k)[i] · T[k · NR + j] summed over k; i runs along registers.
template <int MR, int NR>
class RegisterBlock {
  static constexpr int size = numbers_of_register;
  typedef double Register __attribute__((vector_size(8 * size), aligned(8), may_alias));

 public:
  template <class Operand>
  CVXL_INLINE RegisterBlock(Index terms, const Number* T, Operand&& operand) {
    for (Index k = 0; k < terms; ++k, T += NR) {
      const Number* const p = operand(k);
      for (int i = 0; i < MR / size; ++i) {
        const Register rows = *reinterpret_cast<const Register*>(p + i * size);
        for (int j = 0; j < NR; ++j) sum_[i][j] += rows * T[j].value();
      }
    }
  }
  CVXL_INLINE double operator()(int i, int j) const { return sum_[i / size][j][i % size]; }
  // The MR numbers from `to` on, less column j.
  CVXL_INLINE void subtract_from(Number* to, int j) const {
    for (int i = 0; i < MR / size; ++i) *reinterpret_cast<Register*>(to + i * size) -= sum_[i][j];
  }

 private:
  Register sum_[MR / size][NR]{};
};

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
    if constexpr (std::is_same_v<V, Number> && MR == rows_of_block<Number>) {
      const RegisterBlock<MR, NR> sum(terms, T, operand);
      for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NR; ++j) acc[i][j] = V::of(sum(i, j));
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
