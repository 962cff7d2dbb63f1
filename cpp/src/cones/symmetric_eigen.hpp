#pragma once
// All eigenvalues and eigenvectors of a symmetric matrix, one per lane: Householder's tridiagonalization and implicit QL steps
// (Wilkinson and Reinsch 1971, II/2 and II/4; Golub and Van Loan, sec. 8.3). An order of magnitude less work than rotations where
// the order is large, and accurate to rounding of the largest eigenvalue, not of each.
//
// Lanes split where their own subdiagonal vanishes, and sweep together: a lane with nothing left to do turns by the identity.

#include <algorithm>

#include "cones/householder.hpp"
#include "cones/jacobi.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr int ql_sweeps = 60;  // for one eigenvalue
inline constexpr double ql_negligible = 1e-16;

// X ← the product of the reflectors that its columns hold below the diagonal, with 2/v'v on it; that of column j acts on rows and
// columns j + 1 …
template <class V>
void multiply_reflectors(V* X, Index k) {
  for (Index j = k; j-- > 0;) {
    V* v = X + j * k;
    const bool reflects = j + 2 < k;
    const V inverse = v[j];
    if (reflects)
      for (Index c = j + 1; c < k; ++c) {
        V* x = X + c * k;
        V sum = V{};
        for (Index i = j + 1; i < k; ++i) sum += v[i] * x[i];
        sum *= inverse;
        for (Index i = j + 1; i < k; ++i) x[i] -= sum * v[i];
      }
    // Column j of what was built so far is eⱼ; rows above stay zero.
    for (Index i = 0; i < k; ++i) v[i] = splat<V>(i == j ? 1.0 : 0.0);
    for (Index c = j + 1; c < k; ++c) X[c * k + j] = V{};
  }
}

// X (k × k, symmetric, by columns) ← Q with Q'XQ tridiagonal, of diagonal d and subdiagonal e (e[i] beside d[i] and d[i + 1]).
// p holds k.
template <class V>
void tridiagonalize_with_vectors(V* X, Index k, V* d, V* e, V* p) {
  for (Index j = 0; j + 2 < k; ++j) {
    V* v = X + j * k;  // rows j + 1 … of the column: the reflector, of which 2/v'v is kept at v[j]
    V norm2 = V{};
    for (Index i = j + 1; i < k; ++i) norm2 += v[i] * v[i];
    d[j] = v[j];
    const V norm = sqrt(norm2), head = v[j + 1], beta = select(head < 0.0, -norm, norm);
    v[j + 1] = head + beta;
    const V scale = norm * (norm + abs(head)), inverse = select(scale > 1e-290, 1.0 / max(scale, splat<V>(1e-290)), V{});
    e[j] = select(scale > 1e-290, -beta, head);
    v[j] = inverse;
    reflect_trailing(X, k, j, inverse, p);
  }
  for (Index j = std::max<Index>(k - 2, 0); j < k; ++j) d[j] = X[j * k + j];
  if (k > 1) e[k - 2] = X[(k - 2) * k + k - 1];
  e[k - 1] = V{};
  multiply_reflectors(X, k);
}

// Diagonalizes the tridiagonal (d, e) in the given lanes, in no order of eigenvalues, which are left in d; Z (k × k, by columns)
// receives the rotations from the right.
template <class V>
void implicit_ql(V* d, V* e, V* Z, Index k, MaskOf<V> lanes) {
  using M = MaskOf<V>;
  const V one = splat<V>(1.0);
  const auto negligible = [&](Index i) { return M(~(abs(e[i]) > ql_negligible * unit<V> * (abs(d[i]) + abs(d[i + 1])))); };
  for (Index l = 0; l + 1 < k; ++l)
    for (int sweep = 0; sweep < ql_sweeps; ++sweep) {
      const M busy = lanes & ~negligible(l);
      if (!any(busy)) break;
      // Where the block of each lane that starts at l ends, and the last of these ends.
      V end = splat<V>(static_cast<double>(k - 1));
      Index last = l;
      for (M within = busy; any(within) && last + 1 < k;)
        if (++last; last + 1 < k) {
          const M ends = within & negligible(last);
          end = select(ends, splat<V>(static_cast<double>(last)), end);
          within &= ~ends;
        }
      // Wilkinson's shift, of the leading 2 × 2 block.
      V g = (d[l + 1] - d[l]) / (2.0 * e[l]);
      const V root = sqrt(g * g + 1.0), shift = d[l] - e[l] / (g + select(g < 0.0, -root, root));
      V s = one, c = one, p = V{};
      M chased{};  // lanes within whose block we are
      for (Index i = last; i-- > l;) {
        const M starts = busy & (end == static_cast<double>(i + 1));
        g = select(starts, d[i + 1] - shift, g);
        const V b = c * e[i], f = select(starts, e[i], s * e[i]), own = select(starts, e[i], b), r = sqrt(f * f + g * g);
        chased |= starts;
        e[i + 1] = select(starts, V{}, select(chased, r, e[i + 1]));
        const M stops = chased & ~(r > 0.0);  // underflow: the block has split
        d[i + 1] -= select(stops, p, V{});
        chased &= ~stops;
        const V inverse = 1.0 / select(chased, r, one);
        s = f * inverse;
        c = g * inverse;
        const V q = d[i + 1] - p, t = (d[i] - q) * s + 2.0 * c * own;
        p = select(chased, s * t, V{});
        d[i + 1] = select(chased, q + p, d[i + 1]);
        g = c * t - own;
        rotate_columns(Z + i * k, Z + (i + 1) * k, k, V(select(chased, c, one)), V(select(chased, s, V{})));
      }
      d[l] = select(chased, d[l] - p, d[l]);
      e[l] = select(chased, g, e[l]);
    }
}

// In the given lanes, eigenvalues d and eigenvectors (by columns, in place of X) of the symmetric X (k × k, by columns); anything
// in the others. `scratch` holds 2k.
template <class V>
void symmetric_eigen(V* X, Index k, V* d, V* scratch, MaskOf<V> lanes) {
  tridiagonalize_with_vectors(X, k, d, scratch, scratch + k);
  implicit_ql(d, scratch, X, k, lanes);
}

}  // namespace cvxl::CVXL_ISA
