#pragma once
// The second-order cone {(t, y): |y| ≤ t} and its Nesterov-Todd scaling W = η [w₀, w₁'; w₁, I + w₁w₁'/(1 + w₀)], W z = W⁻¹s = λ
// (Nesterov, Todd 1997; formulas as in Vandenberghe, "The CVXOPT linear and quadratic cone program solvers", 2010).
// W² = η²(2ww' - J) has eigenvalues η²(w₀ ± |w₁|)² and η².

#include "cones/cone.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class SecondOrder {
 public:
  using M = MaskOf<V>;
  static constexpr bool symmetric = true;

  SecondOrder(const Cone& cone, Arena& arena) : order_(cone.order), frame_{arena.take<V>(order_)} {
    for (V** v : {&w_, &lambda_, &t_}) *v = arena.take<V>(order_);
  }

  static double degree(const Cone&) { return 1.0; }

  void central(V* u) const {
    u[0] = splat<V>(1.0);
    for (Index i = 1; i < order_; ++i) u[i] = V{};
  }
  V least_eigenvalue(const V* u) const { return u[0] - norm(u + 1, order_ - 1); }
  void lift(V* u, V by) const { u[0] += by; }

  void scale(const V* s, const V* z, V, M, M, Frames, V* h) {
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
    frame_.set(t_, order_, ~M{});
    eta_ = sqrt(rs * rz_inverse);
    const V eta2 = rs * rz_inverse, spread = w_[0] + length;
    h[0] = eta2 * spread * spread;
    if (order_ > 1) h[1] = eta2 / (spread * spread);
    for (Index i = 2; i < order_; ++i) h[i] = eta2;

    const V scale = sqrt(rs * rz), sbar = s[0] * rs_inverse, zbar = z[0] * rz_inverse;
    const V common = scale / (sbar + zbar + 2.0 * gamma);
    lambda_[0] = scale * gamma;
    for (Index i = 1; i < order_; ++i)
      lambda_[i] = common * ((gamma + zbar) * s[i] * rs_inverse + (gamma + sbar) * z[i] * rz_inverse);
  }

  // c = W(λ \ (λ∘λ + m (W⁻¹ds)∘(W dz) - σμe))
  void complement(const V* s, const V*, const V* ds, const V* dz, V m, V sigma_mu, V* c) const {
    multiply(dz, 1.0, t_);
    multiply(ds, -1.0, c);
    V first = V{};
    const V head = c[0];
    for (Index i = 0; i < order_; ++i) first += c[i] * t_[i];
    for (Index i = 1; i < order_; ++i) c[i] = m * (head * t_[i] + t_[0] * c[i]);
    c[0] = m * first - sigma_mu;
    // λ \ c
    V inner = V{};
    for (Index i = 1; i < order_; ++i) inner += lambda_[i] * c[i];
    const V length = norm(lambda_ + 1, order_ - 1);
    const V x0 = (lambda_[0] * c[0] - inner) / ((lambda_[0] - length) * (lambda_[0] + length));
    for (Index i = 1; i < order_; ++i) c[i] = (c[i] - x0 * lambda_[i]) / lambda_[0];
    c[0] = x0;
    multiply(c, 1.0, c);
    for (Index i = 0; i < order_; ++i) c[i] += s[i];
  }

  V reach(const V* s, const V* ds, const V* z, const V* dz) const { return max(reach(s, ds), reach(z, dz)); }
  M contains(const V*, const V*, const V*, const V*, V) const { return ~M{}; }
  V cosine2(const V* s, const V* z) const { return CVXL_ISA::cosine2(s, z, order_); }

  // With the spectral values λ± = w₀ ± |w₁| the eigenvalues of DΠ(w) are [λ₊ > 0], [λ₋ > 0] and, on the complement, the slope of
  // max(λ, 0) between the two. Ties are spectral values that are all but zero.
  template <class Tie>
  void differentiate(const V* s, const V* z, V* d, V* rest, const Noise<V>& noise, Tie&& tie, M lanes) {
    V length2 = V{};
    for (Index i = 1; i < order_; ++i) {
      t_[i - 1] = s[i] - z[i];
      length2 += t_[i - 1] * t_[i - 1];
    }
    const V length = sqrt(length2), inverse = select(length > 1e-150, 1.0 / length, V{}), w0 = s[0] - z[0];
    for (Index i = 0; i < order_ - 1; ++i) t_[i] *= inverse;
    frame_.set(t_, order_, lanes);
    const M above = w0 - length > 0.0, below = ~(w0 + length > 0.0);
    // Between the two, s and z lie on the boundary, opposite to each other: so said, the smaller one does not drown in the larger.
    const V high = select(above | below, w0 + length, s[0] + norm(s + 1, order_ - 1)), one = splat<V>(1.0);
    const V low = select(above | below, w0 - length, -(z[0] + norm(z + 1, order_ - 1)));
    const V inverse_gap = 1.0 / max(high - low, splat<V>(1e-300));
    const V slope = select(above, one, select(below, V{}, high * inverse_gap)),
            other = select(above, V{}, select(below, one, -low * inverse_gap));
    for (Index i = 0; i < order_; ++i) {
      const M up = i == 0 ? high > 0.0 : above;
      d[i] = select(lanes, i < 2 ? select(up, one, V{}) : slope, d[i]);
      rest[i] = select(lanes, i < 2 ? select(up, V{}, one) : other, rest[i]);
    }
    tie(0, noise.hides(high));
    if (order_ > 1) tie(1, noise.hides(low));
  }

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

  bool choose_units(const V*, const V*, double, M, M) const { return false; }
  void difference(const V* u, const V* v, V* w) const { subtract(u, v, w, order_); }

  // -½ log det - ½ log det
  V barrier(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    const auto det = [&](const V* u, const V* d) {
      V sum = V{};
      for (Index i = 1; i < order_; ++i) sum += (u[i] + alpha * d[i]) * (u[i] + alpha * d[i]);
      const V head = u[0] + alpha * d[0];
      return max(head * head - sum, splat<V>(1e-300));
    };
    return -0.5 * (log(det(s, ds)) + log(det(z, dz)));
  }

  void forward(V* a, Index columns, V* sums) const { frame_.forward(a, order_, columns, sums); }
  void back(V* a, Index columns, V* sums) const { frame_.back(a, order_, columns, sums); }
  void inverse(V* a, V* sums) const { back(a, 1, sums); }

  // With t ± r the spectral values of w, |t| < r, and coordinates (t + ρ, t - ρ)/√2, ⊥ of directions, ρ along w₁:
  //   D²Π[h, k] = (h⊥·k⊥/(2r), -t/(2r²) h⊥·k⊥ along w₁, ((h_t - t/r h_ρ) k⊥ + (k_t - t/r k_ρ) h⊥)/(2r)).
  // Of 1 ± t/r one may be tiny: they are the spectral values over r.
  void projection_second_derivative(const V* w, const V* h, const V* k, V* g) const {
    if (order_ < 2) {
      g[0] = V{};
      return;
    }
    const V twice = w[0] - w[1], r = twice * sqrt_half<V>, plus = 2.0 * w[0] / twice, minus = -2.0 * w[1] / twice;
    const M curved = (w[0] > 0.0) & (w[1] < 0.0);
    const V half = select(curved, 0.5 / r, V{});
    const auto tilt = [&](const V* v) { return (minus * v[0] + plus * v[1]) * sqrt_half<V> * half; };
    V inner = V{};
    const V ht = tilt(h), kt = tilt(k);
    for (Index i = 2; i < order_; ++i) {
      inner += h[i] * k[i];
      g[i] = select(curved, ht * k[i] + kt * h[i], V{});
    }
    inner *= half * sqrt_half<V>;
    g[0] = select(curved, inner * minus, V{});
    g[1] = select(curved, inner * plus, V{});
  }

  // f* = -½ log z'Jz; J exchanges the first two coordinates of the frame and turns the signs of the others.
  void barrier_third_derivative(const V* s, const V* z, const V* h, const V* k, V* g) const {
    const Index order = order_;
    const auto inner = [&](const V* a, const V* b) {
      if (order < 2) return a[0] * b[0];
      V sum = a[0] * b[1] + a[1] * b[0];
      for (Index i = 2; i < order; ++i) sum -= a[i] * b[i];
      return sum;
    };
    V mu = V{};
    for (Index i = 0; i < order; ++i) mu += s[i] * z[i];
    const V q = 1.0 / inner(z, z), zh = inner(z, h) * q, zk = inner(z, k) * q, hk = inner(h, k) * q, factor = 2.0 * mu * q;
    for (Index i = 0; i < order; ++i) {
      const Index j = order < 2 ? 0 : i < 2 ? 1 - i : i;
      g[i] = (i < 2 ? factor : -factor) * (k[j] * zh + h[j] * zk + z[j] * (hk - 4.0 * zh * zk));
    }
  }

  static std::size_t margin_scratch(const Cone&) { return 0; }
  static double margin(const Cone& cone, const double* s, const double* z, double*) {
    double length = 0.0;
    for (Index i = 1; i < cone.order; ++i) length += (s[i] - z[i]) * (s[i] - z[i]);
    return std::abs(std::abs(s[0] - z[0]) - std::sqrt(length));
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

  // u = W v, or W⁻¹v for sign = -1; u may be v.
  void multiply(const V* v, double sign, V* u) const {
    V inner = V{};
    for (Index i = 1; i < order_; ++i) inner += w_[i] * v[i];
    const V scale = sign > 0.0 ? eta_ : 1.0 / eta_;
    const V factor = sign * v[0] + inner / (1.0 + w_[0]);
    u[0] = scale * (w_[0] * v[0] + sign * inner);
    for (Index i = 1; i < order_; ++i) u[i] = scale * (v[i] + factor * w_[i]);
  }

  Index order_;
  SecondOrderFrame<V> frame_;
  V *w_, *lambda_, *t_;
  V eta_{};
};

}  // namespace cvxl::CVXL_ISA
