#pragma once
// Derivatives of functions of the eigenvalues of a symmetric matrix in the frame of its eigenvectors, svec form.

#include "cones/rotation.hpp"
#include "lanes/dense.hpp"
#include "lanes/lanes.hpp"
#include "lanes/math.hpp"

namespace cvxl::CVXL_ISA {

// DΠ(w), Π the projection on the cone, is diagonal there: d gets the slopes of max(λ, 0) between eigenvalues of w, `rest` 1 - d, in
// the given lanes. Ties are eigenvalues that are all but zero.
template <class V, class Eigenvalue, class Tie>
CVXL_INLINE void projection_slopes(Eigenvalue&& eigenvalue, Index order, V* d, V* rest, const Noise<V>& noise, Tie&& tie,
                                   MaskOf<V> lanes) {
  const V one = splat<V>(1.0);
  for (Index j = 0; j < order; ++j) {
    const V a = eigenvalue(j);
    tie(svec_place(j, j), noise.hides(a));
    for (Index i = 0; i <= j; ++i, ++d, ++rest) {
      const V b = eigenvalue(i), high = max(a, b), low = min(a, b), inverse_gap = 1.0 / max(high - low, splat<V>(1e-300));
      *d = select(lanes, select(low > 0.0, one, select(high > 0.0, high * inverse_gap, V{})), *d);
      *rest = select(lanes, select(low > 0.0, V{}, select(high > 0.0, -low * inverse_gap, one)), *rest);
    }
  }
}

// g_ij = Σ_l weight(i, l, j) (h_il k_lj + k_il h_lj) for symmetric matrices of this order.
template <class V, class Weight>
CVXL_INLINE void congruence_of_two(const V* h, const V* k, V* g, Index order, Weight&& weight) {
  for (Index j = 0; j < order; ++j)
    for (Index i = 0; i <= j; ++i) {
      V sum = V{};
      for (Index l = 0; l < order; ++l)
        sum += weight(i, l, j) * (svec_entry(h, i, l) * svec_entry(k, l, j) + svec_entry(k, i, l) * svec_entry(h, l, j));
      g[svec_place(i, j)] = i == j ? sum : sum * sqrt_two<V>;
    }
}

// g = D²Π(w)[h, k], Π the projection on the cone and w diagonal. The weights are the second divided differences of max(λ, 0): where
// one eigenvalue x has another sign than u and v, |x|/(|x - u||x - v|); else 0.
template <class V>
void projection_second_derivative_of_matrix(const V* w, const V* h, const V* k, V* g, Index order) {
  const auto odd = [](V x, V u, V v) { return abs(x) / max(abs((x - u) * (x - v)), splat<V>(1e-300)); };
  congruence_of_two(h, k, g, order, [&](Index i, Index l, Index j) {
    const V a = w[svec_place(i, i)], b = w[svec_place(l, l)], c = w[svec_place(j, j)];
    const auto ab = (a > 0.0) == (b > 0.0), bc = (b > 0.0) == (c > 0.0);
    return select(ab, select(bc, V{}, odd(c, a, b)), select(bc, odd(a, b, c), odd(b, a, c)));
  });
}

// g = μ∇³f*(Z)[H, K] = -(SHSKS + SKSHS)/μ² with S = μZ⁻¹, both diagonal.
template <class V>
void barrier_third_derivative_of_matrix(const V* s, const V* z, const V* h, const V* k, V* g, Index order) {
  const auto value = [&](Index i) { return s[svec_place(i, i)]; };
  V mu = V{};
  for (Index i = 0; i < order; ++i) mu += value(i) * z[svec_place(i, i)];
  const V factor = -static_cast<double>(order * order) / (mu * mu);
  congruence_of_two(h, k, g, order, [&](Index i, Index l, Index j) { return factor * value(i) * value(l) * value(j); });
}

}  // namespace cvxl::CVXL_ISA
