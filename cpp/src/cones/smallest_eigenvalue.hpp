#pragma once
// The smallest eigenvalue of a small symmetric matrix, for step lengths: tridiagonalization (Golub and Van Loan, sec. 8.3.1), then
// Laguerre's iteration on the characteristic polynomial, an order of magnitude less work than all eigenvalues by rotations.
//
// With real roots only, Laguerre's iteration from below the smallest root rises to it monotonically and in the end cubically
// (Wilkinson, "The Algebraic Eigenvalue Problem", 1965, ch. 7). What is returned is therefore a lower bound, and a step that trusts
// it is safe.

#include "cones/householder.hpp"

namespace cvxl::CVXL_ISA {

// X (k × k, its lower triangle) by Householder reflections: diagonal d, squares e² of the subdiagonal. X is overwritten; p holds k.
template <class V>
void tridiagonalize(V* X, Index k, V* d, V* e2, V* p) {
  for (Index j = 0; j < k; ++j) {
    d[j] = X[j * k + j];
    if (j + 1 == k) break;
    V* v = X + j * k;  // rows j + 1 … of the column
    V norm2 = V{};
    for (Index i = j + 1; i < k; ++i) norm2 += v[i] * v[i];
    e2[j] = norm2;
    if (j + 2 == k) continue;
    const V norm = sqrt(norm2), head = v[j + 1];
    v[j + 1] = head + select(head < 0.0, -norm, norm);
    const V inverse = 1.0 / max(norm * (norm + abs(head)), splat<V>(1e-290));  // 2/v'v
    reflect_trailing(X, k, j, inverse, p);
  }
}

// A lower bound of the eigenvalues of X, within `accuracy` of the smallest, relative to the larger of it and 1. X is overwritten;
// `scratch` holds 3k.
template <class V>
V smallest_eigenvalue(V* X, Index k, V* scratch, double accuracy) {
  V *d = scratch, *e2 = scratch + k;
  tridiagonalize(X, k, d, e2, scratch + 2 * k);
  const double count = static_cast<double>(k);
  V mean = V{}, spread = V{};
  for (Index i = 0; i < k; ++i) mean += d[i] / count;
  for (Index i = 0; i < k; ++i) spread += (d[i] - mean) * (d[i] - mean) + (i + 1 < k ? 2.0 * e2[i] : V{});
  V least = mean - sqrt(spread * ((count - 1.0) / count));  // the iteration's step from minus infinity
  MaskOf<V> rising = ~MaskOf<V>{};
  for (int pass = 0; pass < 20 && any(rising); ++pass) {
    // p'/p and its derivative from the ratios of leading minors of X - λI, all positive below the smallest root.
    V ratio = splat<V>(1.0), slope = V{}, bend = V{}, first = V{}, second = V{};
    for (Index i = 0; i < k; ++i) {
      const V g = i > 0 ? e2[i - 1] / ratio : V{};
      ratio = d[i] - least - g;
      rising &= ratio > 0.0;
      const V inverse = 1.0 / ratio, next = (g * slope - 1.0) * inverse;
      bend = g * (bend - 2.0 * slope * slope) * inverse;
      slope = next;
      first -= slope;
      second += slope * slope - bend;
    }
    const V step = count / (first + sqrt(max((count - 1.0) * (count * second - first * first), V{})));
    rising &= finite(step);
    least += select(rising, step, V{});
    rising &= step > accuracy * max(abs(least), splat<V>(1.0));
  }
  return least;
}

// The least |eigenvalue| of X, by bisection: between -t and t lie as many as leading minors of X - tI change sign more often than
// those of X + tI. X is overwritten; `scratch` holds 3k.
template <class V>
V nearest_eigenvalue(V* X, Index k, V* scratch) {
  V *d = scratch, *e2 = scratch + k;
  tridiagonalize(X, k, d, e2, scratch + 2 * k);
  const V one = splat<V>(1.0);
  const auto below = [&](V bound) {
    V count = V{}, ratio = one;
    for (Index i = 0; i < k; ++i) {
      ratio = d[i] - bound - (i > 0 ? e2[i - 1] / ratio : V{});
      ratio = select(abs(ratio) < 1e-290, splat<V>(-1e-290), ratio);
      count += select(ratio < 0.0, one, V{});
    }
    return count;
  };
  V low = V{}, high = V{};
  for (Index i = 0; i < k; ++i) {
    const V radius = (i > 0 ? sqrt(e2[i - 1]) : V{}) + (i + 1 < k ? sqrt(e2[i]) : V{});
    high = max(high, abs(d[i]) + radius);
  }
  for (int pass = 0; pass < 64; ++pass) {
    const V middle = 0.5 * (low + high);
    const auto some = below(middle) > below(-middle);
    high = select(some, middle, high);
    low = select(some, low, middle);
  }
  return high;
}

}  // namespace cvxl::CVXL_ISA
