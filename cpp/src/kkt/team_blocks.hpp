#pragma once
// What the threads of a team do to a panel: a diagonal block each for itself, and turns of their own.

#include <algorithm>

#include "kkt/pivot.hpp"
#include "lanes/team.hpp"

namespace cvxl::CVXL_ISA {

// 1 / pivot of a column whose pivots should have the sign `wanted`; of another, which is broken, as if it were the sign.
template <class V>
CVXL_INLINE V invert(V& pivot, V wanted, MaskOf<V>& broken) {
  const MaskOf<V> good = wanted * pivot > smallest_pivot;
  broken |= ~good;
  pivot = select(good, pivot, wanted);
  return 1.0 / pivot;
}

// N columns of an L D L' whose diagonal block every thread has for itself.
template <class V, int N>
struct DiagonalBlock {
  V l[N][N];  // below the diagonal
  V pivot[N], inverse[N];

  // Factors the block at `at`, of leading dimension ld; whether a pivot has not the sign that it should have is added to `broken`.
  CVXL_HD void factor(const V* at, Index ld, const double* sign, MaskOf<V>& broken) {
    for (int j = 0; j < N; ++j) {
      pivot[j] = at[j * ld + j];
      for (int i = j + 1; i < N; ++i) l[i][j] = at[j * ld + i];
    }
    for (int j = 0; j < N; ++j) {
      inverse[j] = invert(pivot[j], splat<V>(sign[j]), broken);
      for (int i = j + 1; i < N; ++i) {
        const V u = l[i][j];
        l[i][j] = u * inverse[j];
        pivot[i] -= l[i][j] * u;
        for (int k = i + 1; k < N; ++k) l[k][i] -= l[k][j] * l[i][j];  // that of row k is still u
      }
    }
  }

  CVXL_HD void store(V* at, Index ld) const {
    for (int j = 0; j < N; ++j)
      for (int i = j + 1; i < N; ++i) at[j * ld + i] = l[i][j];
  }

  // The entries of one row below: from A = L D L' to L.
  CVXL_HD void factor_row(V* at, Index ld) const {
    V u[N];
    for (int j = 0; j < N; ++j) {
      u[j] = at[j * ld];
      for (int c = 0; c < j; ++c) u[j] -= u[c] * l[j][c];
      at[j * ld] = u[j] * inverse[j];
    }
  }
};

template <int N>
struct Width {
  static constexpr int value = N;
};

// Blocks of four columns, then of two, then of one: f(first, Width).
template <class F>
CVXL_HD void each_block(Index columns, F&& f) {
  const Index fours = columns / 4 * 4;
  for (Index first = 0; first < fours; first += 4) f(first, Width<4>{});
  if (columns & 2) f(fours, Width<2>{});
  if (columns & 1) f(columns - 1, Width<1>{});
}

// The same from the last on.
template <class F>
CVXL_HD void each_block_backward(Index columns, F&& f) {
  const Index fours = columns / 4 * 4;
  if (columns & 1) f(columns - 1, Width<1>{});
  if (columns & 2) f(fours, Width<2>{});
  for (Index first = fours - 4; first >= 0; first -= 4) f(first, Width<4>{});
}

// Which of the turns of loops that follow each other are the calling thread's: in turn, whatever the lengths of the loops.
template <class V>
class Turns {
 public:
  template <class F>
  CVXL_INLINE void share(Index count, F&& f) {
    for (; next_ < count; next_ += Team<V>::size()) f(next_);
    next_ -= count;
  }

 private:
  Index next_ = Team<V>::rank();
};

inline constexpr int tile = 4;  // rows and columns of a product that stay in registers

template <class V, class Coefficient, class Operand, class Target>
CVXL_HD void subtract_tile(Index a, Index a_end, Index b, Index b_end, Index terms, Coefficient&& coefficient, Operand&& operand,
                           Target&& target) {
  V sum[tile][tile];
  for (int i = 0; i < tile; ++i)
    for (int j = 0; j < tile; ++j) sum[i][j] = V{};
  for (Index k = 0; k < terms; ++k) {
    const V* p = operand(k);
    const V c = coefficient(k);
    V left[tile], right[tile];  // a row or column beyond the end repeats the last
    for (int i = 0; i < tile; ++i) left[i] = p[std::min<Index>(a + i, a_end - 1)];
    for (int j = 0; j < tile; ++j) right[j] = c * p[std::min<Index>(b + j, b_end - 1)];
    for (int i = 0; i < tile; ++i)
      for (int j = 0; j < tile; ++j) sum[i][j] += left[i] * right[j];
  }
  for (int j = 0; j < tile; ++j)
    for (int i = 0; i < tile; ++i)
      if (a + i < a_end && b + j < b_end && a + i >= b + j) target(a + i, b + j) -= sum[i][j];
}

// The calling thread's part of target(a, b) -= Σ_k operand(k)_a coefficient(k) operand(k)_b, first ≤ b < last and b ≤ a < count, so many
// terms, in tiles. Tiles of two columns of tiles, the j-th from either end, are as many for all j.
template <class V, class Coefficient, class Operand, class Target>
CVXL_HD void subtract_products(Index first, Index last, Index count, Index terms, Turns<V>& turns, Coefficient&& coefficient,
                               Operand&& operand, Target&& target) {
  const Index columns = (last - first + tile - 1) / tile, rows = (count - first + tile - 1) / tile;
  const Index pair = 2 * rows - columns + 1;
  turns.share((columns + 1) / 2 * pair, [&](Index turn) {
    Index b = turn / pair, a = turn % pair;
    if (a >= rows - b) {
      if (2 * b + 1 == columns) return;
      a -= rows - b;
      b = columns - 1 - b;
    }
    a += b;
    subtract_tile<V>(first + a * tile, std::min<Index>(count, first + (a + 1) * tile), first + b * tile,
                     std::min<Index>(last, first + (b + 1) * tile), terms, coefficient, operand, target);
  });
}

}  // namespace cvxl::CVXL_ISA
