#pragma once
// The exponential cone cl{(x, y, w): y exp(x/y) ≤ w, y > 0}; its dual is cl{z: z₀ < 0, -z₀ exp(z₁/z₀ - 1) ≤ z₂}, with
// r(z) = z₁ - z₀ - z₀ log(-z₂/z₀).

#include "cones/barrier.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
struct Exponential {
  using M = MaskOf<V>;

  explicit Exponential(const Cone&) {}

  // s = z = -∇f*(z).
  static void central(V* u) {
    u[0] = splat<V>(-1.0513839437502289266);
    u[1] = splat<V>(0.5564096186043384373);
    u[2] = splat<V>(1.2589678864644602578);
  }

  // With log w/y = ρ and -z₂/z₀ = e^-ρ near the boundary: (x, y, w) → (x - ρy, y, e^-ρ w), by which y = w.
  Automorphism<V> centring(const Vector3<V>& s, const Vector3<V>& z) const {
    const V a = sqrt((s[1] / s[2]) * (-z[2] / z[0])), one = splat<V>(1.0);
    return {{one, one, a}, log(a)};
  }

  Kernel3<V> kernel(const Vector3<V>& z) const {
    const V l = log(-z[2] / z[0]), inverse = 1.0 / z[2];
    return {z[1] - z[0] - z[0] * l,
            {{-l, splat<V>(1.0), -z[0] * inverse}},
            {{1.0 / z[0], V{}, V{}, -inverse, V{}, z[0] * inverse * inverse}},
            {1.0, 0.0, 1.0}};
  }

  // ∇²f* = gg'/r² + vv'/(-z₀r) + diag(1/z₀², 0, 1/z₂²), g = ∇r = (-l, 1, -ρ), v = (1, 0, -ρ), ρ = z₀/z₂. The rows (0, 1, 0), (1, l,
  // 0) and (ρ, ρ(1 + l), 1) meet g in one entry and v in another; one elimination between the last two is left.
  Congruence3<V> hessian(const Vector3<V>& z) const {
    const V l = log(-z[2] / z[0]), r = z[1] - z[0] - z[0] * l, rho = z[0] / z[2], b2 = 1.0 / (z[0] * z[0]);
    const V second = b2 - 1.0 / (z[0] * r), elimination = rho * b2 / second;
    const V zero = V{}, one = splat<V>(1.0), c = rho - elimination;
    return {{zero, one, zero, one, l, zero, c, rho + c * l, one},
            {-l, one, zero, one, zero, zero, -rho, -c, one},
            {1.0 / (r * r), second, 2.0 / (z[2] * z[2]) - elimination * rho * b2}};
  }

  Vector3<V> third(const Vector3<V>& z, const Vector3<V>& u, const Vector3<V>& v) const {
    const V a = 1.0 / z[0], b = 1.0 / z[2];
    const V cross = (u[0] * v[2] + u[2] * v[0]) * b * b, last = u[2] * v[2] * b * b;
    return {{last - u[0] * v[0] * a * a, V{}, cross - 2.0 * z[0] * b * last}};
  }

  // ∇f(s) of the conjugate barrier: -z with s = -∇f*(z). With t = -1/(z₀s₁) it reads t + log(1 + t) = log(w/y) - x/y = d.
  Vector3<V> primal_gradient(const Vector3<V>& s, M lanes) const {
    const V ratio = s[0] / s[1];
    const V d = max(log(s[2] / s[1]) - ratio, splat<V>(1e-300));
    V t = max(0.5 * d, d - log1p(d));
    iterate(5, lanes, [&](M busy) {
      const V step = (t + log1p(t) - d) * (1.0 + t) / (2.0 + t);
      t = select(busy, max(t - step, 0.1 * t), t);
      return abs(step) > last_step * unit<V> * t;
    });
    const V y = 1.0 / (s[1] * t);
    const V l = -ratio - t;  // log(-z₂/z₀)
    return {{y, y * (1.0 + l) - 1.0 / s[1], -(1.0 + t) / (t * s[2])}};
  }

  // Curvature of the boundary at s along the tangent t; with ψ = w - y exp(x/y) it is -t'∇²ψ t / |∇ψ|.
  V curvature(const Vector3<V>& s, const Vector3<V>& t) const {
    const V y = max(s[1], splat<V>(1e-100)), rho = min(s[0] / y, splat<V>(300.0)), e = exp(rho), bend = t[0] - rho * t[1];
    return e * bend * bend / (y * sqrt(1.0 + e * e * (1.0 + (1.0 - rho) * (1.0 - rho))));
  }
  // Of the curve of unit vectors p in the boundary, n its inward normal and t its unit tangent; and its derivative along the curve.
  std::pair<V, V> geodesic_curvature(const Vector3<V>& p, const Vector3<V>& n, const Vector3<V>& t) const {
    const V y = max(p[1], splat<V>(1e-100)), rho = min(p[0] / y, splat<V>(300.0)), e = exp(rho), bend = t[0] - rho * t[1],
            rest = 1.0 - rho;
    const V norm2 = 1.0 + e * e * (1.0 + rest * rest), first = e / (y * sqrt(norm2)), kappa = first * bend * bend, turn = bend / y;
    const V logarithmic = turn - t[1] / y - e * e * turn * (1.0 + rest * rest - rest) / norm2;
    return {kappa, kappa * logarithmic + 2.0 * first * bend * (kappa * (n[0] - rho * n[1]) - turn * t[1])};
  }
  // A complementary pair on the boundaries, close to Π(w) and Π(w) - w for w outside the cone and its polar and (s, z) close to
  // them. With ρ = x/y, s = y (ρ, 1, e^ρ) and z = λ (-e^ρ, (ρ-1)e^ρ, 1): two equations of s - z = w give y and λ, a few steps of
  // Newton's method on the third give ρ (as in Friberg 2023).
  void touch(const Vector3<V>& w, Vector3<V>& s, Vector3<V>& z, M lanes) const {
    const V one = splat<V>(1.0), limit = splat<V>(200.0);
    const auto clip = [&](V v) { return max(min(v, limit), -limit); };
    V rho = clip(select(s[1] > abs(z[0]), s[0] / s[1], 1.0 - z[1] / z[0]));
    V q, e, y, lambda;
    const auto place = [&] {
      q = 1.0 / (rho * rho - rho + 1.0);
      e = exp(rho);
      y = ((rho - 1.0) * w[0] + w[1]) * q;
      lambda = (w[0] - rho * w[1]) * q / e;
    };
    iterate(8, lanes, [&](M busy) {
      place();
      const V slope = 2.0 * rho - 1.0, change = ((w[0] - y * slope) * q + y) * e + w[1] * q / e + lambda + lambda * slope * q;
      const V step = (y * e - lambda - w[2]) / change;
      rho = clip(rho - select(busy & finite(step), max(min(step, one), -one), V{}));
      return abs(step) > last_step * unit<V> * (1.0 + abs(rho));
    });
    place();
    // w₀ - ρw₁ and (ρ-1)w₀ + w₁ lose the smaller of y and λe^ρ; the third equation has it.
    const M low = e < 1.0;
    lambda = max(select(low, y * e - w[2], lambda), V{});
    y = max(select(low, y, (w[2] + lambda) / e), V{});
    s = {{y * rho, y, y * e}};
    z = {{-lambda * e, lambda * (rho - 1.0) * e, lambda}};
  }

  // Points whose projection is (w₀, 0, max(w₂, 0)): the cone's flat face.
  M projects_on_face(const Vector3<V>& w) const { return (w[0] < 0.0) & (w[1] < 0.0); }

  M contains_primal(const Vector3<V>& s) const {
    const M positive = (s[1] > 0.0) & (s[2] > 0.0);
    const V one = splat<V>(1.0), y = select(positive, s[1], one), w = select(positive, s[2], one);
    return positive & (y * log(w / y) - s[0] > 0.0);
  }
  M contains_dual(const Vector3<V>& z) const {
    const M signs = (z[0] < 0.0) & (z[2] > 0.0);
    const V one = splat<V>(1.0), y = select(signs, -z[0], one), w = select(signs, z[2], one);
    return signs & (z[1] + y + y * log(w / y) > 0.0);
  }

  // For one point: y log(w/y) - x, and r(z); negative outside.
  static double primal_depth(const Cone&, const double* s) {
    return s[1] > 0.0 && s[2] > 0.0 ? s[1] * std::log(s[2] / s[1]) - s[0] : -1.0;
  }
  static double dual_depth(const Cone&, const double* z) {
    return z[0] < 0.0 && z[2] > 0.0 ? z[1] - z[0] - z[0] * std::log(-z[2] / z[0]) : -1.0;
  }
};

}  // namespace cvxl::CVXL_ISA
