#pragma once
// Frames in which a symmetric matrix H that belongs to a cone block is diagonal: T H T' = diag(h), T orthogonal. With rows T A of
// the constraint matrix, right-hand sides T r and multipliers z = T'z̃ the KKT system of any cone has a diagonal lower block, and
// looks like that of the orthant. Every frame acts on `columns` columns at once, k × columns by rows, in place:
//
//   forward   A ← T A              back   z̃ ← T'z̃

#include <utility>

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

// What rounding leaves of slacks and multipliers of a row: spectral values of w = s - z within it have no sign.
template <class V>
struct Noise {
  V s, z;

  CVXL_INLINE auto hides(V value) const { return (value <= s) & (value >= -z); }
};

inline constexpr double sqrt_half = 0.70710678118654752440, sqrt_two = 1.41421356237309504880;

// H = η²(2ww' - J) and the projection's derivative share eigenvectors (1, ±u)/√2 and u's complement. A Householder reflection F
// with F u = -σ e₁, σ = sign u₁, gives the complement; then the first two coordinates are turned by 45 degrees.
template <class V>
struct SecondOrderFrame {
  V* v;  // order - 1: u + σe₁
  V beta{}, sigma{};

  // In the given lanes; u has unit length, or is zero: then any frame will do.
  void set(const V* u, Index order, Mask<lanes_of<V>> lanes) {
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
    b = (a - y) * sqrt_half;
    a = (a + y) * sqrt_half;
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
      unpack(a + c, k, columns, X);
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
          a[(j * (j + 1) / 2 + i) * columns + c] = i == j ? sum : sum * sqrt_two;
        }
    }
  }

  static void unpack(const V* a, Index k, Index stride, V* X) {
    for (Index j = 0; j < k; ++j)
      for (Index i = 0; i <= j; ++i) {
        const V x = a[(j * (j + 1) / 2 + i) * stride];
        X[j * k + i] = X[i * k + j] = i == j ? x : x * sqrt_half;
      }
  }
};

// A dense 3 × 3 frame by rows.
template <class V>
struct DenseFrame {
  V T[9];

  void forward(V* a, Index columns) const {
    apply(a, columns, [&](int i, int j) { return T[3 * i + j]; });
  }
  void back(V* a, Index columns) const {
    apply(a, columns, [&](int i, int j) { return T[3 * j + i]; });
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
