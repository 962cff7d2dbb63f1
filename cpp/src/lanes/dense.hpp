#pragma once
// Products of dense matrices, one per lane, and symmetric matrices in svec form: the upper triangle by columns, entries off the
// diagonal times √2.

#include <algorithm>

#include "lanes/block.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr double sqrt_half = 0.70710678118654752440, sqrt_two = 1.41421356237309504880;

// The place of entry (i, j), i ≤ j, in svec form.
constexpr Index svec_place(Index i, Index j) { return j * (j + 1) / 2 + i; }

template <class V>
CVXL_INLINE V svec_entry(const V* a, Index i, Index j, Index stride = 1) {
  if (i == j) return a[svec_place(i, i) * stride];
  return sqrt_half * a[svec_place(std::min(i, j), std::max(i, j)) * stride];
}

// Numbers that `multiply` needs room for.
constexpr Index multiply_room(Index columns, Index terms) { return terms * (columns + block_rows); }

// out(i, j, Σ_l left(i, l) right(l, j)) for all i < rows, j < columns; `lower`: for all i ≥ j, and some above. Both operands are laid
// out in the order in which register blocks meet them.
template <bool lower = false, class V, class Left, class Right, class Out>
void multiply(Index rows, Index columns, Index terms, V* room, Left&& left, Right&& right, Out&& out) {
  V* strip = room + terms * columns;
  for_pieces<block_columns>(0, columns, [&](Index j, auto nr) {
    constexpr int NR = decltype(nr)::value;
    V* T = room + j * terms;
    for (Index l = 0; l < terms; ++l)
      for (int c = 0; c < NR; ++c) T[l * NR + c] = right(l, j + c);
  });
  for_pieces<block_rows>(0, rows, [&](Index i, auto mr) {
    constexpr int MR = decltype(mr)::value;
    for (Index l = 0; l < terms; ++l)
      for (int r = 0; r < MR; ++r) strip[l * MR + r] = left(i + r, l);
    for_pieces<block_columns>(0, lower ? std::min<Index>(columns, i + MR) : columns, [&](Index j, auto nr) {
      constexpr int NR = decltype(nr)::value;
      const Block<V, MR, NR> block(terms, room + j * terms, [&](Index l) { return strip + l * MR; });
      for (int c = 0; c < NR; ++c)
        for (int r = 0; r < MR; ++r) out(i + r, j + c, block.acc[r][c]);
    });
  });
}

// Numbers that `congruence` needs room for.
constexpr Index congruence_room(Index k) { return k * k + multiply_room(k, k); }

// svec(X) ← svec(B'XB), or svec(BXB') if transposed; B is k × k by columns, entries of X lie `stride` apart.
template <bool transposed, class V>
void congruence(V* a, const V* B, Index k, V* room, Index stride = 1) {
  V* Y = room + multiply_room(k, k);
  const auto right = [&](Index l, Index j) { return transposed ? B[l * k + j] : B[j * k + l]; };
  multiply(
      k, k, k, room, [&](Index i, Index l) { return svec_entry(a, i, l, stride); }, right,
      [&](Index i, Index j, V sum) { Y[j * k + i] = sum; });
  multiply<true>(
      k, k, k, room, [&](Index i, Index l) { return right(l, i); }, [&](Index l, Index j) { return Y[j * k + l]; },
      [&](Index i, Index j, V sum) {
        if (i >= j) a[svec_place(j, i) * stride] = i == j ? sum : sqrt_two * sum;
      });
}

}  // namespace cvxl::CVXL_ISA
