#pragma once
// Jacobi's methods for small dense matrices, one per lane: fixed order of rotations, sweeps until every lane has converged.
// (One-sided: Hestenes 1958; two-sided: Golub and Van Loan, sec. 8.5.)

#include <algorithm>

#include "lanes/lanes.hpp"

#include "cvxl/program.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr int jacobi_sweeps = 12;

// A sweep that meets smaller cosines² is a lane's last: convergence is quadratic.
inline constexpr double last_cosine2 = 1e-20;

// Cosine and sine that diagonalize [a, b; b, d], by their double angle; no rotation where b is negligible.
template <class V>
CVXL_INLINE void jacobi_rotation(V a, V b, V d, MaskOf<V> negligible, V& c, V& s) {
  const V x = d - a, inverse = 1.0 / sqrt(x * x + 4.0 * b * b);
  c = sqrt(0.5 + 0.5 * abs(x) * inverse);
  s = select(x < 0.0, -b, b) * inverse / c;
  c = select(negligible, splat<V>(1.0), c);
  s = select(negligible, V{}, s);
}

template <class V>
CVXL_INLINE void rotate_columns(V* p, V* q, Index rows, V c, V s) {
  for (Index i = 0; i < rows; ++i) {
    const V a = p[i], b = q[i];
    p[i] = c * a - s * b;
    q[i] = s * a + c * b;
  }
}

// Orthogonalizes the columns of B (k × k, by columns) in the lanes `busy` by rotations from the right, applied to the columns of C
// (or null) as well. K, if given, is k at compile time.
template <Index K = 0, class V>
CVXL_INLINE void orthogonalize_columns(V* B, V* C, Index order, MaskOf<V> busy) {
  const Index k = K > 0 ? K : order;
  for (int sweep = 0; sweep < jacobi_sweeps && any(busy); ++sweep) {
    MaskOf<V> again{};
    for (Index p = 0; p < k; ++p)
      for (Index q = p + 1; q < k; ++q) {
        V *x = B + p * k, *y = B + q * k;
        V a = V{}, b = V{}, d = V{};
        for (Index i = 0; i < k; ++i) {
          a += x[i] * x[i];
          b += x[i] * y[i];
          d += y[i] * y[i];
        }
        const auto negligible = ~(b * b > 1e-31 * unit<V> * unit<V> * a * d) | ~busy;
        again |= b * b > last_cosine2 * unit<V> * a * d;
        if (all(negligible)) continue;
        V c, s;
        jacobi_rotation(a, b, d, negligible, c, s);
        rotate_columns(x, y, k, c, s);
        if (C) rotate_columns(C + p * k, C + q * k, k, c, s);
      }
    busy &= again;
  }
}

// Eigenvalues of the symmetric A (k × k) in the lanes `busy`, left on its diagonal; U (by columns) receives the rotations from the
// right.
template <class V>
void diagonalize(V* A, V* U, Index k, MaskOf<V> busy) {
  for (int sweep = 0; sweep < jacobi_sweeps && any(busy); ++sweep) {
    MaskOf<V> again{};
    V largest = V{};
    for (Index i = 0; i < k; ++i) largest = max(largest, abs(A[i * k + i]));
    for (Index p = 0; p < k; ++p)
      for (Index q = p + 1; q < k; ++q) {
        const V b = A[q * k + p];
        const auto negligible = ~(abs(b) > 1e-17 * unit<V> * largest) | ~busy;
        again |= ~negligible;
        if (all(negligible)) continue;
        V c, s;
        jacobi_rotation(A[p * k + p], b, A[q * k + q], negligible, c, s);
        rotate_columns(A + p * k, A + q * k, k, c, s);
        for (Index j = 0; j < k; ++j) {
          const V x = A[j * k + p], y = A[j * k + q];
          A[j * k + p] = c * x - s * y;
          A[j * k + q] = s * x + c * y;
        }
        rotate_columns(U + p * k, U + q * k, k, c, s);
      }
    busy &= again;
  }
}

// The least |eigenvalue| of the k × k symmetric matrix at a, which is overwritten: Jacobi rotations, row by row.
inline double least_magnitude(double* a, Index k) {
  for (int sweep = 0; sweep < 30; ++sweep) {
    double off = 0.0, size = 0.0;
    for (Index i = 0; i < k; ++i)
      for (Index j = 0; j < k; ++j) (i == j ? size : off) += a[i * k + j] * a[i * k + j];
    if (off <= 1e-30 * size) break;
    for (Index p = 0; p < k; ++p)
      for (Index q = p + 1; q < k; ++q) {
        const double apq = a[p * k + q];
        if (apq == 0.0) continue;
        const double theta = (a[q * k + q] - a[p * k + p]) / (2.0 * apq);
        const double t = (theta < 0.0 ? -1.0 : 1.0) / (std::abs(theta) + std::sqrt(1.0 + theta * theta));
        const double c = 1.0 / std::sqrt(1.0 + t * t), s = t * c;
        for (Index i = 0; i < k; ++i) {
          const double x = a[i * k + p], y = a[i * k + q];
          a[i * k + p] = c * x - s * y;
          a[i * k + q] = s * x + c * y;
        }
        for (Index i = 0; i < k; ++i) {
          const double x = a[p * k + i], y = a[q * k + i];
          a[p * k + i] = c * x - s * y;
          a[q * k + i] = s * x + c * y;
        }
      }
  }
  double least = HUGE_VAL;
  for (Index i = 0; i < k; ++i) least = std::min(least, std::abs(a[i * k + i]));
  return least;
}

}  // namespace cvxl::CVXL_ISA
