#pragma once
// What the threads of a team do to a panel: a diagonal block each for itself, and turns of their own.

#include "kkt/pivot.hpp"
#include "lanes/team.hpp"

namespace cvxl::CVXL_ISA {

// Columns j < count of an L D L' whose diagonal block every thread has for itself. Columns beyond the count are those of I.
template <class V, int N>
struct DiagonalBlock {
  V l[N][N];  // below the diagonal
  V pivot[N], inverse[N];

  // Factors the block at `at`, of leading dimension ld; returns whether a pivot has not the sign that it should have.
  CVXL_HD MaskOf<V> factor(const V* at, Index ld, Index count, const double* sign) {
    MaskOf<V> broken{};
    for (int j = 0; j < N; ++j)
      for (int i = j; i < N; ++i) {
        const V value = i < count ? at[j * ld + i] : splat<V>(i == j ? 1.0 : 0.0);
        (i == j ? pivot[j] : l[i][j]) = value;
      }
    for (int j = 0; j < N; ++j) {
      const V wanted = splat<V>(j < count ? sign[j] : 1.0);
      const MaskOf<V> good = wanted * pivot[j] > smallest_pivot;
      broken |= ~good;
      pivot[j] = select(good, pivot[j], wanted);
      inverse[j] = 1.0 / pivot[j];
      for (int i = j + 1; i < N; ++i) {
        const V u = l[i][j];
        l[i][j] = u * inverse[j];
        pivot[i] -= l[i][j] * u;
        for (int k = i + 1; k < N; ++k) l[k][i] -= l[k][j] * l[i][j];  // that of row k is still u
      }
    }
    return broken;
  }

  CVXL_HD void store(V* at, Index ld, Index count) const {
    for (int j = 0; j < N; ++j)
      for (int i = j + 1; i < N; ++i)
        if (i < count) at[j * ld + i] = l[i][j];
  }

  // The entries of one row below: from A = L D L' to L.
  CVXL_HD void factor_row(V* at, Index ld, Index count) const {
    V u[N];
    for (int j = 0; j < N; ++j)
      if (j < count) {
        u[j] = at[j * ld];
        for (int c = 0; c < j; ++c) u[j] -= u[c] * l[j][c];
        at[j * ld] = u[j] * inverse[j];
      }
  }
};

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

}  // namespace cvxl::CVXL_ISA
