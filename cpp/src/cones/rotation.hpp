#pragma once
// Frames in which a symmetric matrix H that belongs to a cone block is diagonal: T H T' = diag(h). With rows T A of the constraint
// matrix, right-hand sides T r and multipliers z = T'z̃ the KKT system of any cone has a diagonal lower block, and looks like that
// of the orthant. Every frame acts on `columns` columns at once, k × columns by rows, in place:
//
//   forward   A ← T A              back   z̃ ← T'z̃              inverse   s̃ ← T⁻¹s̃, which is T's̃ in orthonormal frames

#include <utility>

#include "cones/jacobi.hpp"
#include "lanes/dense.hpp"
#include "lanes/lanes.hpp"
#include "lanes/math.hpp"

#include "cvxl/program.hpp"

namespace cvxl::CVXL_ISA {

// On the half-line, which is what a cone is along its frames: s, z ≥ 0 with s - z = w and s z = μ.
template <class V>
CVXL_INLINE std::pair<V, V> parts(V w, V mu) {
  const V larger = select(mu > 0.0, 0.5 * (abs(w) + sqrt(w * w + 4.0 * mu)), abs(w)), smaller = mu / max(larger, splat<V>(1e-300));
  return {select(w > 0.0, larger, smaller), select(w > 0.0, smaller, larger)};
}

// What T has to be: solves can do with any that is well conditioned, norms in frames need orthonormal ones.
enum class Frames { orthonormal, any };

// What rounding leaves of slacks and multipliers of a row: spectral values of w = s - z within it have no sign.
template <class V>
struct Noise {
  V s, z;

  CVXL_INLINE auto hides(V value) const { return (value <= s) & (value >= -z); }
};

// H = η²(2ww' - J) and the projection's derivative share eigenvectors (1, ±u)/√2 and u's complement. A Householder reflection F
// with F u = -σ e₁, σ = sign u₁, gives the complement; then the first two coordinates are turned by 45 degrees.
template <class V>
struct SecondOrderFrame {
  V* v;  // order - 1: u + σe₁
  V beta{}, sigma{};

  // In the given lanes; u has unit length, or is zero: then any frame will do.
  void set(const V* u, Index order, MaskOf<V> lanes) {
    if (order < 2) return;
    V norm2 = V{}, length = V{};
    for (Index i = 0; i < order - 1; ++i) norm2 += u[i] * u[i];
    const V sign = select(u[0] < 0.0, splat<V>(-1.0), splat<V>(1.0));
    for (Index i = 0; i < order - 1; ++i) {
      const V entry = i > 0 ? u[i] : select(norm2 > 0.5, u[0] + sign, splat<V>(1.0));
      length += entry * entry;
      v[i] = select(lanes, entry, v[i]);
    }
    sigma = select(lanes, sign, sigma);
    beta = select(lanes, 2.0 / length, beta);
  }

  void forward(V* a, Index order, Index columns, V* scratch) const {
    if (order < 2) return;
    reflect(a + columns, order - 1, columns, scratch);
    for (Index c = 0; c < columns; ++c) turn(a[c], a[columns + c], -sigma * a[columns + c]);
  }
  void back(V* a, Index order, Index columns, V* scratch) const {
    if (order < 2) return;
    for (Index c = 0; c < columns; ++c) {
      turn(a[c], a[columns + c], a[columns + c]);
      a[columns + c] *= -sigma;
    }
    reflect(a + columns, order - 1, columns, scratch);
  }

 private:
  // (a, b) ← (a + y, a - y)/√2
  static CVXL_INLINE void turn(V& a, V& b, V y) {
    b = (a - y) * sqrt_half<V>;
    a = (a + y) * sqrt_half<V>;
  }

  void reflect(V* a, Index rows, Index columns, V* dot) const {
    for (Index c = 0; c < columns; ++c) dot[c] = V{};
    for (Index i = 0; i < rows; ++i)
      for (Index c = 0; c < columns; ++c) dot[c] += v[i] * a[i * columns + c];
    for (Index c = 0; c < columns; ++c) dot[c] *= beta;
    for (Index i = 0; i < rows; ++i)
      for (Index c = 0; c < columns; ++c) a[i * columns + c] -= v[i] * dot[c];
  }
};

// X → U'XU for symmetric X in svec form (upper triangle by columns, off-diagonal entries times √2), U orthogonal by columns.
template <class V>
struct SemidefiniteFrame {
  V* U;  // order × order: column j at U + j·order

  void forward(V* a, Index order, Index columns, V* scratch) const { congruence<false>(a, U, order, columns, scratch); }
  void back(V* a, Index order, Index columns, V* scratch) const { congruence<true>(a, U, order, columns, scratch); }

  // a ← svec(B'XB), or svec(BXB') if transposed; B by columns. `scratch` holds 2 order².
  template <bool transposed>
  static void congruence(V* a, const V* B, Index k, Index columns, V* scratch) {
    V *X = scratch, *Y = scratch + k * k;
    const auto entry = [&](Index i, Index j) { return transposed ? B[i * k + j] : B[j * k + i]; };  // row i of the right factor
    for (Index c = 0; c < columns; ++c) {
      unpack_svec(a + c, k, X, columns);
      for (Index j = 0; j < k; ++j)  // Y = X B, by columns
        for (Index i = 0; i < k; ++i) {
          V sum = V{};
          for (Index l = 0; l < k; ++l) sum += X[i * k + l] * entry(l, j);
          Y[j * k + i] = sum;
        }
      for (Index j = 0; j < k; ++j)
        for (Index i = 0; i <= j; ++i) {
          V sum = V{};
          for (Index l = 0; l < k; ++l) sum += entry(l, i) * Y[j * k + l];
          a[(j * (j + 1) / 2 + i) * columns + c] = i == j ? sum : sum * sqrt_two<V>;
        }
    }
  }
};

// A dense 3 × 3 frame by rows, and its inverse.
template <class V>
struct DenseFrame {
  V T[9], inverse[9];

  // The frame in which H = BB' is diagonal, B by columns, which it overwrites: eigenvectors, in the given lanes. Rotating columns
  // until they are orthogonal gives them and the eigenvalues h to the accuracy of B, which those of BB' would not have.
  void orthogonalize(V* B, MaskOf<V> lanes, V* h) {
    orthogonalize_columns<3>(B, static_cast<V*>(nullptr), 3, lanes);
    for (int k = 0; k < 3; ++k) {
      const V* column = B + 3 * k;
      h[k] = column[0] * column[0] + column[1] * column[1] + column[2] * column[2];
      const V inverse_length = 1.0 / sqrt(h[k]);
      for (int i = 0; i < 3; ++i) T[3 * k + i] = inverse[3 * i + k] = column[i] * inverse_length;
    }
  }

  // A cheaper one: P H P' = L diag(h) L', L unit lower triangular and P a permutation that takes the longest row of B next, by which
  // no entry of L exceeds 1. T = L⁻¹P, T⁻¹ = P'L. A reflection of the columns leaves one entry of the first row, and columns of any
  // sizes their own accuracy.
  void triangulate(const V* B, V* h) {
    V row[3][6];  // [B, P]
    for (int i = 0; i < 3; ++i)
      for (int k = 0; k < 3; ++k) {
        row[i][k] = B[3 * k + i];
        row[i][3 + k] = splat<V>(i == k ? 1.0 : 0.0);
      }
    const auto norm2 = [&](int i, int first) {
      V sum = V{};
      for (int k = first; k < 3; ++k) sum += row[i][k] * row[i][k];
      return sum;
    };
    const auto take_longer = [&](V& norm, int i, int other, int first) {
      const V its = norm2(other, first);
      const auto longer = its > norm;
      norm = max(norm, its);
      for (int k = 0; k < 6; ++k) {
        const V own = row[i][k];
        row[i][k] = select(longer, row[other][k], own);
        row[other][k] = select(longer, own, row[other][k]);
      }
    };
    h[0] = norm2(0, 0);
    take_longer(h[0], 0, 1, 0);
    take_longer(h[0], 0, 2, 0);
    const V length = sqrt(h[0]), pivot = select(row[0][0] < 0.0, -length, length);
    const V v[3] = {row[0][0] + pivot, row[0][1], row[0][2]}, inverse_pivot = 1.0 / pivot, weight = inverse_pivot / v[0];
    for (int i = 1; i < 3; ++i) {
      const V along = (row[i][0] * v[0] + row[i][1] * v[1] + row[i][2] * v[2]) * weight;
      for (int k = 0; k < 3; ++k) row[i][k] -= along * v[k];
    }
    h[1] = norm2(1, 1);
    take_longer(h[1], 1, 2, 1);
    const V second = 1.0 / h[1], area = row[1][1] * row[2][2] - row[1][2] * row[2][1];
    h[2] = area * area * second;
    const V l10 = -row[1][0] * inverse_pivot, l20 = -row[2][0] * inverse_pivot,
            l21 = (row[1][1] * row[2][1] + row[1][2] * row[2][2]) * second;
    for (int j = 0; j < 3; ++j) {
      const V first = row[0][3 + j], middle = row[1][3 + j], last = row[2][3 + j], reduced = middle - l10 * first;
      T[j] = first;
      T[3 + j] = reduced;
      T[6 + j] = last - l20 * first - l21 * reduced;
      inverse[3 * j] = first + l10 * middle + l20 * last;
      inverse[3 * j + 1] = middle + l21 * last;
      inverse[3 * j + 2] = last;
    }
  }

  void forward(V* a, Index columns) const {
    apply(a, columns, [&](int i, int j) { return T[3 * i + j]; });
  }
  void back(V* a, Index columns) const {
    apply(a, columns, [&](int i, int j) { return T[3 * j + i]; });
  }
  void invert(V* a) const {
    apply(a, 1, [&](int i, int j) { return inverse[3 * i + j]; });
  }

 private:
  template <class F>
  static CVXL_INLINE void apply(V* a, Index columns, F&& entry) {
    for (Index c = 0; c < columns; ++c) {
      const V x = a[c], y = a[columns + c], w = a[2 * columns + c];
      for (int i = 0; i < 3; ++i) a[i * columns + c] = entry(i, 0) * x + entry(i, 1) * y + entry(i, 2) * w;
    }
  }
};

}  // namespace cvxl::CVXL_ISA
