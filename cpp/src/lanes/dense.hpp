#pragma once
// Products of dense matrices, one per lane, and symmetric matrices in svec form: the upper triangle by columns, entries off the
// diagonal times √2.

#include <algorithm>

#include "lanes/block.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
inline constexpr double sqrt_half = 0.70710678118654752440;
template <class V>
inline constexpr double sqrt_two = 1.41421356237309504880;

// The place of entry (i, j), i ≤ j, in svec form.
constexpr Index svec_place(Index i, Index j) { return j * (j + 1) / 2 + i; }

template <class V>
CVXL_INLINE V svec_entry(const V* a, Index i, Index j, Index stride = 1) {
  if (i == j) return a[svec_place(i, i) * stride];
  return sqrt_half<V> * a[svec_place(std::min(i, j), std::max(i, j)) * stride];
}

// X (k × k, by columns) of which `a` is the svec form, entries `stride` apart.
template <class V>
void unpack_svec(const V* a, Index k, V* X, Index stride = 1) {
  for (Index j = 0; j < k; ++j)
    for (Index i = 0; i <= j; ++i) X[j * k + i] = X[i * k + j] = svec_entry(a, i, j, stride);
}

// Cholesky's factor of the matrix in svec form, lower triangle by columns; a pivot that is not positive becomes tiny.
template <class V>
void cholesky_of_svec(const V* a, Index k, V* L) {
  unpack_svec(a, k, L);
  for (Index j = 0; j < k; ++j) {
    for (Index l = 0; l < j; ++l)
      for (Index i = j; i < k; ++i) L[j * k + i] -= L[l * k + i] * L[l * k + j];
    const V pivot = sqrt(max(L[j * k + j], splat<V>(1e-100))), inverse = 1.0 / pivot;
    for (Index i = 0; i < j; ++i) L[j * k + i] = V{};
    L[j * k + j] = pivot;
    for (Index i = j + 1; i < k; ++i) L[j * k + i] *= inverse;
  }
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
        if (i >= j) a[svec_place(j, i) * stride] = i == j ? sum : sqrt_two<V> * sum;
      });
}

}  // namespace cvxl::CVXL_ISA
