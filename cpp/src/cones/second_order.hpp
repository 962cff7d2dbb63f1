#pragma once
// The second-order cone {(t, y): |y| ≤ t} and its Nesterov-Todd scaling W = η [w₀, w₁'; w₁, I + w₁w₁'/(1 + w₀)], W z = W⁻¹s = λ
// (Nesterov, Todd 1997; formulas as in Vandenberghe, "The CVXOPT linear and quadratic cone program solvers", 2010).
// W² = η²(2ww' - J) has eigenvalues η²(w₀ ± |w₁|)² and η².

#include "cones/rotation.hpp"
#include "lanes/arena.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class SecondOrder {
 public:
  using M = Mask<lanes_of<V>>;
  SecondOrderFrame<V> frame;

  SecondOrder(Index order, Arena& arena)
      : frame{arena.take<V>(order)}, order_(order), w_(arena.take<V>(order)), lambda_(arena.take<V>(order)), t_(arena.take<V>(order)) {}

  static V margin(const V* u, Index order) { return u[0] - norm(u + 1, order - 1); }
  static void identity(V* u, Index order, V value) {
    u[0] = value;
    for (Index i = 1; i < order; ++i) u[i] = V{};
  }
  static void lift(V* u, Index, V by) { u[0] += by; }

  // The scaling at (s, z), and the eigenvalues h of W².
  void scale(const V* s, const V* z, V* h) {
    const V rs = hyperbolic(s), rz = hyperbolic(z);
    V product = s[0] * z[0];
    for (Index i = 1; i < order_; ++i) product += s[i] * z[i];
    const V rs_inverse = 1.0 / rs, rz_inverse = 1.0 / rz;
    const V gamma = sqrt(0.5 * (1.0 + product * rs_inverse * rz_inverse));
    const V half = 0.5 / gamma;
    V length2 = V{};
    for (Index i = 1; i < order_; ++i) {
      w_[i] = (s[i] * rs_inverse - z[i] * rz_inverse) * half;
      length2 += w_[i] * w_[i];
    }
    w_[0] = sqrt(1.0 + length2);
    const V length = sqrt(length2), inverse = select(length > 1e-150, 1.0 / length, V{});
    for (Index i = 1; i < order_; ++i) t_[i - 1] = w_[i] * inverse;
    frame.set(t_, order_, ~M{});
    eta_ = sqrt(rs * rz_inverse);
    const V eta2 = rs * rz_inverse, spread = w_[0] + length;
    h[0] = eta2 * spread * spread;
    if (order_ > 1) h[1] = eta2 / (spread * spread);
    for (Index i = 2; i < order_; ++i) h[i] = eta2;

    const V scale = sqrt(rs * rz), sbar = s[0] * rs_inverse, zbar = z[0] * rz_inverse;
    const V common = scale / (sbar + zbar + 2.0 * gamma);
    lambda_[0] = scale * gamma;
    for (Index i = 1; i < order_; ++i) lambda_[i] = common * ((gamma + zbar) * s[i] * rs_inverse + (gamma + sbar) * z[i] * rz_inverse);
  }

  // c = W(λ \ (λ∘λ + m (W⁻¹ds)∘(W dz) - σμe)); ds and dz are overwritten.
  void complement(const V* s, V* ds, V* dz, V m, V sigma_mu, V* c) {
    multiply(dz, 1.0);
    multiply(ds, -1.0);
    V first = V{};
    for (Index i = 0; i < order_; ++i) first += ds[i] * dz[i];
    for (Index i = 1; i < order_; ++i) c[i] = m * (ds[0] * dz[i] + dz[0] * ds[i]);
    c[0] = m * first - sigma_mu;
    // λ \ c
    V inner = V{};
    for (Index i = 1; i < order_; ++i) inner += lambda_[i] * c[i];
    const V length = norm(lambda_ + 1, order_ - 1);
    const V x0 = (lambda_[0] * c[0] - inner) / ((lambda_[0] - length) * (lambda_[0] + length));
    for (Index i = 1; i < order_; ++i) c[i] = (c[i] - x0 * lambda_[i]) / lambda_[0];
    c[0] = x0;
    multiply(c, 1.0);
    for (Index i = 0; i < order_; ++i) c[i] += s[i];
  }

  // 1/α for the largest α with u + α d in the cone; 0 if all are.
  V reach(const V* u, const V* d) const {
    const V inverse = 1.0 / hyperbolic(u);
    V inner = V{};
    for (Index i = 1; i < order_; ++i) inner += u[i] * d[i];
    const V r0 = (u[0] * d[0] - inner) * inverse * inverse, factor = (d[0] * inverse + r0) / (u[0] * inverse + 1.0);
    V length = V{};
    for (Index i = 1; i < order_; ++i) {
      const V r = (d[i] - factor * u[i]) * inverse;
      length += r * r;
    }
    return max(sqrt(length) - r0, V{});
  }

  // DΠ(w) at w = s - z: its eigenvalues d in the frame of w. With the spectral values λ± = w₀ ± |w₁| they are [λ₊ > 0], [λ₋ > 0] and, on
  // the complement, the slope of max(λ, 0) between the two. Writes the given lanes; ties are spectral values that are all but zero.
  template <class Tie>
  void differentiate(const V* s, const V* z, V* d, V* rest, const Noise<V>& noise, Tie&& tie, M lanes) {
    V length2 = V{};
    for (Index i = 1; i < order_; ++i) {
      t_[i - 1] = s[i] - z[i];
      length2 += t_[i - 1] * t_[i - 1];
    }
    const V length = sqrt(length2), inverse = select(length > 1e-150, 1.0 / length, V{}), w0 = s[0] - z[0];
    for (Index i = 0; i < order_ - 1; ++i) t_[i] *= inverse;
    frame.set(t_, order_, lanes);
    const M above = w0 - length > 0.0, below = ~(w0 + length > 0.0);
    // Between the two, s and z lie on the boundary, opposite to each other: so said, the smaller one does not drown in the larger.
    const V high = select(above | below, w0 + length, s[0] + norm(s + 1, order_ - 1)), one = splat<V>(1.0);
    const V low = select(above | below, w0 - length, -(z[0] + norm(z + 1, order_ - 1)));
    const V inverse_gap = 1.0 / max(high - low, splat<V>(1e-300));
    const V slope = select(above, one, select(below, V{}, high * inverse_gap)), other = select(above, V{}, select(below, one, -low * inverse_gap));
    for (Index i = 0; i < order_; ++i) {
      const M up = i == 0 ? high > 0.0 : above;
      d[i] = select(lanes, i < 2 ? select(up, one, V{}) : slope, d[i]);
      rest[i] = select(lanes, i < 2 ? select(up, V{}, one) : other, rest[i]);
    }
    tie(0, noise.hides(high));
    if (order_ > 1) tie(1, noise.hides(low));
  }

  // The pair with s - z = w on the central path at μ; for μ = 0 s = Π(w).
  void project(const V* w, V mu, V* s, V* z, M) const {
    const V length = norm(w + 1, order_ - 1), inverse = select(length > 1e-150, 1.0 / length, V{});
    const V high = w[0] + length, low = w[0] - length;
    const auto split = [&](V* u, V first, V second) {
      u[0] = 0.5 * (first + second);
      const V along = 0.5 * (first - second) * inverse;
      for (Index i = 1; i < order_; ++i) u[i] = along * w[i];
    };
    const auto [s_high, z_high] = parts(high, mu);
    const auto [s_low, z_low] = parts(order_ > 1 ? low : high, mu);
    split(s, s_high, s_low);
    split(z, z_high, z_low);
  }

  // f(s) + f*(z) = -½ log det - ½ log det at the moved points.
  V barriers(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    const auto det = [&](const V* u, const V* d) {
      V sum = V{};
      for (Index i = 1; i < order_; ++i) sum += (u[i] + alpha * d[i]) * (u[i] + alpha * d[i]);
      const V head = u[0] + alpha * d[0];
      return max(head * head - sum, splat<V>(1e-300));
    };
    return -0.5 * (log(det(s, ds)) + log(det(z, dz)));
  }

 private:
  static V norm(const V* u, Index count) {
    V sum = V{};
    for (Index i = 0; i < count; ++i) sum += u[i] * u[i];
    return sqrt(sum);
  }

  V hyperbolic(const V* u) const {
    const V length = norm(u + 1, order_ - 1);
    return sqrt(max((u[0] - length) * (u[0] + length), splat<V>(1e-200)));
  }

  // v ← W v, or W⁻¹v for sign = -1.
  void multiply(V* v, double sign) const {
    V inner = V{};
    for (Index i = 1; i < order_; ++i) inner += w_[i] * v[i];
    const V scale = sign > 0.0 ? eta_ : 1.0 / eta_;
    const V factor = sign * v[0] + inner / (1.0 + w_[0]);
    v[0] = scale * (w_[0] * v[0] + sign * inner);
    for (Index i = 1; i < order_; ++i) v[i] = scale * (v[i] + factor * w_[i]);
  }

  Index order_;
  V *w_, *lambda_, *t_;
  V eta_{};
};

}  // namespace cvxl::CVXL_ISA
