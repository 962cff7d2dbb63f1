#pragma once
// Second derivatives of cone blocks, in the frames of their first ones: of the projection, g = D²Π(w)[h, k], and of the barrier on the
// central path, g = μ∇³f*(z)[h, k] where s = -μ∇f*(z). Both are symmetric in h and k.

#include <algorithm>

#include "cones/second_order.hpp"
#include "cones/semidefinite.hpp"
#include "cones/three_dimensional.hpp"
#include "kkt/symbolic.hpp"

namespace cvxl::CVXL_ISA {

// With t ± r the spectral values of w, |t| < r, and coordinates (t + ρ, t - ρ)/√2, ⊥ of directions, ρ along w₁:
//   D²Π[h, k] = (h⊥·k⊥/(2r), -t/(2r²) h⊥·k⊥ along w₁, ((h_t - t/r h_ρ) k⊥ + (k_t - t/r k_ρ) h⊥)/(2r)).
// Of 1 ± t/r one may be tiny: they are the spectral values over r.
template <class V>
void bend_projection(const SecondOrder<V>&, const ConeBlock& cone, const V* w, const V* h, const V* k, V* g) {
  if (cone.order < 2) {
    for (Index i = 0; i < cone.order; ++i) g[i] = V{};
    return;
  }
  const V twice = w[0] - w[1], r = twice * sqrt_half, plus = 2.0 * w[0] / twice, minus = -2.0 * w[1] / twice;
  const auto curved = (w[0] > 0.0) & (w[1] < 0.0);
  const V half = select(curved, 0.5 / r, V{});
  const auto tilt = [&](const V* v) { return (minus * v[0] + plus * v[1]) * sqrt_half * half; };
  V inner = V{};
  const V ht = tilt(h), kt = tilt(k);
  for (Index i = 2; i < cone.order; ++i) {
    inner += h[i] * k[i];
    g[i] = select(curved, ht * k[i] + kt * h[i], V{});
  }
  inner *= half * sqrt_half;
  g[0] = select(curved, inner * minus, V{});
  g[1] = select(curved, inner * plus, V{});
}

// f* = -½ log z'Jz; J exchanges the first two coordinates and turns the signs of the others.
template <class V>
void bend_barrier(const SecondOrder<V>&, const ConeBlock& cone, const V* s, const V* z, const V* h, const V* k, V* g) {
  const auto inner = [&](const V* a, const V* b) {
    if (cone.order < 2) return a[0] * b[0];
    V sum = a[0] * b[1] + a[1] * b[0];
    for (Index i = 2; i < cone.order; ++i) sum -= a[i] * b[i];
    return sum;
  };
  if (cone.order < 1) return;
  V mu = V{};
  for (Index i = 0; i < cone.order; ++i) mu += s[i] * z[i];
  const V q = 1.0 / inner(z, z), zh = inner(z, h) * q, zk = inner(z, k) * q, hk = inner(h, k) * q, factor = 2.0 * mu * q;
  for (Index i = 0; i < cone.order; ++i) {
    const Index j = cone.order < 2 ? 0 : i < 2 ? 1 - i : i;
    g[i] = (i < 2 ? factor : -factor) * (k[j] * zh + h[j] * zk + z[j] * (hk - 4.0 * zh * zk));
  }
}

// g_ij = Σ_l weight(i, l, j) (h_il k_lj + k_il h_lj) for symmetric matrices in svec form.
template <class V, class Weight>
CVXL_INLINE void congruence_of_two(Index order, const V* h, const V* k, V* g, Weight&& weight) {
  const auto entry = [](const V* v, Index i, Index j) {
    return i == j ? v[i * (i + 3) / 2] : v[std::max(i, j) * (std::max(i, j) + 1) / 2 + std::min(i, j)] * sqrt_half;
  };
  for (Index j = 0; j < order; ++j)
    for (Index i = 0; i <= j; ++i) {
      V sum = V{};
      for (Index l = 0; l < order; ++l) sum += weight(i, l, j) * (entry(h, i, l) * entry(k, l, j) + entry(k, i, l) * entry(h, l, j));
      g[j * (j + 1) / 2 + i] = i == j ? sum : sum * sqrt_two;
    }
}

// The weights are the second divided differences of max(λ, 0): where one eigenvalue x has another sign than u and v,
// |x|/(|x - u||x - v|); else 0.
template <class V>
void bend_projection(const Semidefinite<V>&, const ConeBlock& cone, const V* w, const V* h, const V* k, V* g) {
  const auto odd = [](V x, V u, V v) { return abs(x) / max(abs((x - u) * (x - v)), splat<V>(1e-300)); };
  congruence_of_two(cone.order, h, k, g, [&](Index i, Index l, Index j) {
    const V a = w[i * (i + 3) / 2], b = w[l * (l + 3) / 2], c = w[j * (j + 3) / 2];
    const auto ab = (a > 0.0) == (b > 0.0), bc = (b > 0.0) == (c > 0.0);
    return select(ab, select(bc, V{}, odd(c, a, b)), select(bc, odd(a, b, c), odd(b, a, c)));
  });
}

// μ∇³f*(Z)[H, K] = -(SHSKS + SKSHS)/μ² with S = μZ⁻¹, diagonal here.
template <class V>
void bend_barrier(const Semidefinite<V>&, const ConeBlock& cone, const V* s, const V* z, const V* h, const V* k, V* g) {
  const auto value = [&](Index i) { return s[i * (i + 3) / 2]; };
  V mu = V{};
  for (Index i = 0; i < cone.order; ++i) mu += value(i) * z[i * (i + 3) / 2];
  const V factor = -static_cast<double>(cone.order * cone.order) / (mu * mu);
  congruence_of_two(cone.order, h, k, g, [&](Index i, Index l, Index j) { return factor * value(i) * value(l) * value(j); });
}

// The boundary is a cone over a curve p(θ) on the sphere, of geodesic curvature κ: with its inward normal n and tangent t,
// p' = t, t' = -p + κn, n' = -κt. Then w = αp - βn gives dw = dα p + (α + βκ)dθ t - dβ n, DΠ = pp' + λtt', λ = α/(α + βκ), and
// D²Π is the derivative of that.
template <class V, class Barrier>
void bend_projection(const ThreeDimensional<V, Barrier>& block, const ConeBlock&, const V* w, const V* h, const V* k, V* g) {
  const auto row = [&](int i) { return Vector3<V>{{block.frame.T[3 * i], block.frame.T[3 * i + 1], block.frame.T[3 * i + 2]}}; };
  const auto [kappa, slope] = block.barrier.geodesic_curvature(row(0), row(1), row(2));
  const V alpha = w[0], beta = -w[1], m = 1.0 / (alpha + beta * kappa), lambda = alpha * m, turn = h[2] * m;
  const V change = (h[0] - lambda * (h[0] - h[1] * kappa + beta * slope * turn)) * m;  // of λ
  const V value[3] = {turn * k[2] * (1.0 - lambda), turn * k[2] * lambda * kappa,
                      turn * (k[0] * (1.0 - lambda) + lambda * kappa * k[1]) + change * k[2]};
  const auto curved = (alpha > 0.0) & (beta > 0.0) & (lambda > 0.0) & (lambda < 1.0);
  for (int i = 0; i < 3; ++i) g[i] = select(curved & finite(value[i]), value[i], V{});
}

template <class V, class Barrier>
void bend_barrier(const ThreeDimensional<V, Barrier>& block, const ConeBlock&, const V* s, const V* z, const V* h, const V* k, V* g) {
  const auto turned_back = [&](const V* v) {
    Vector3<V> u{{v[0], v[1], v[2]}};
    block.frame.back(u.v, 1);
    return u;
  };
  const Vector3<V> at = turned_back(z), u = turned_back(h), v = turned_back(k);
  const V mu = (s[0] * z[0] + s[1] * z[1] + s[2] * z[2]) / 3.0;
  const Vector3<V> third = barrier_third(block.barrier.kernel(at), at, u, v, block.barrier.third(at, u, v));
  for (int i = 0; i < 3; ++i) g[i] = mu * third[i];
  block.frame.forward(g, 1);
}

}  // namespace cvxl::CVXL_ISA
