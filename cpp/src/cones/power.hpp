#pragma once
// The power cone {(x, y, w): x^α y^(1-α) ≥ |w|, x, y ≥ 0}; its dual is {z: (z₀/α)^α (z₁/(1-α))^(1-α) ≥ |z₂|}, with
// r(z) = φ - z₂², φ = (z₀/α)^(2α) (z₁/(1-α))^(2-2α).

#include "cones/barrier.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
struct Power {
  using M = MaskOf<V>;
  double alpha;

  explicit Power(const Cone& cone) : alpha(cone.alpha) {}

  void central(V* u) const {
    u[0] = splat<V>(std::sqrt(1.0 + alpha));
    u[1] = splat<V>(std::sqrt(2.0 - alpha));
    u[2] = V{};
  }

  // (x, y, w) → (x/a, a y, …), by which x and y are of one size.
  Automorphism<V> centring(const Vector3<V>& s, const Vector3<V>& z) const {
    const V a = sqrt(sqrt((s[0] / s[1]) * (z[1] / z[0])));
    return {{1.0 / a, a, exp((1.0 - 2.0 * alpha) * log(a))}, V{}};
  }

  Kernel3<V> kernel(const Vector3<V>& z) const {
    const V phi = power_product(z), p = 2.0 * alpha / z[0], q = 2.0 * (1.0 - alpha) / z[1];
    return {phi - z[2] * z[2],
            {{phi * p, phi * q, -2.0 * z[2]}},
            {{phi * (p - 1.0 / z[0]) * p, phi * p * q, phi * (q - 1.0 / z[1]) * q, V{}, V{}, splat<V>(-2.0)}},
            {1.0 - alpha, alpha, 0.0}};
  }

  // With a = αz₂/z₀, b = (1-α)z₂/z₁ and w = (2a, 2b, -2),
  //   ∇²f* = (φ/r²) ww' + diag((2αφ/r + 1-α)/z₀², (2(1-α)φ/r + α)/z₁², -2/r).
  // In the rows (0, 0, 1), (1, 0, a) and z, of which only the first meets w, it is
  //   [4φ/r² - 2/r, -2a/r, -2z₂/r; ·, (1+α)/z₀² + 2α(1-α)z₂²/(r z₀²), (1+α)/z₀; ·, ·, 3],
  // and eliminations downwards lose nothing.
  Congruence3<V> hessian(const Vector3<V>& z) const {
    const double beta = 1.0 - alpha;
    const V phi = power_product(z), r = phi - z[2] * z[2], r_inverse = 1.0 / r, z0 = 1.0 / z[0], a = alpha * z[2] * z0;
    const V first = (4.0 * phi * r_inverse - 2.0) * r_inverse, e1 = -2.0 * a * r_inverse / first,
            e2 = -2.0 * z[2] * r_inverse / first;
    const V middle = (1.0 + alpha) * z0 * z0 + 2.0 * alpha * beta * z[2] * z[2] * r_inverse * z0 * z0 - e1 * e1 * first;
    const V cross = (1.0 + alpha) * z0 - e1 * e2 * first, e3 = cross / middle;
    // Rows (0, 0, 1), (1, 0, a - e₁) =: (1, 0, p), z - e₂(0, 0, 1) - e₃(1, 0, p) = (z₀ - e₃, z₁, q).
    const V zero = V{}, one = splat<V>(1.0), p = a - e1, x = z[0] - e3, q = z[2] - e2 - e3 * p, z1 = 1.0 / z[1];
    return {{zero, zero, one, one, zero, p, x, z[1], q},
            {-p, one, zero, (x * p - q) * z1, -x * z1, z1, one, zero, zero},
            {first, middle, 3.0 - e2 * e2 * first - e3 * cross}};
  }

  Vector3<V> third(const Vector3<V>& z, const Vector3<V>& u, const Vector3<V>& v) const {
    const V phi = power_product(z), p = 2.0 * alpha / z[0], q = 2.0 * (1.0 - alpha) / z[1];
    const V xx = p * (p - 1.0 / z[0]) * u[0] * v[0], yy = q * (q - 1.0 / z[1]) * u[1] * v[1],
            xy = p * q * (u[0] * v[1] + u[1] * v[0]);
    const V all = xx + xy + yy;
    return {{phi * (p * all - (2.0 * xx + xy) / z[0]), phi * (q * all - (2.0 * yy + xy) / z[1]), V{}}};
  }

  // -z with s = -∇f*(z). With t = -z₂s₂ the third equation reads
  //   2α log(1 + α + αt) + 2(1-α) log(2 - α + (1-α)t) - log(t(2 + t)) = 2α log(αs₀) + 2(1-α) log((1-α)s₁) - log s₂²,
  // whose left side decreases in t and is convex. For α = ½ it is quadratic, and that root starts Newton's method for all.
  Vector3<V> primal_gradient(const Vector3<V>& s, M lanes) const {
    const double beta = 1.0 - alpha;
    const V w = max(abs(s[2]), splat<V>(1e-140));
    const V m = max(2.0 * (alpha * log(s[0]) + beta * log(s[1]) - log(w)), splat<V>(1e-300));
    const V e1 = select(m < 1e-5, m * (1.0 + 0.5 * m), exp(m) - 1.0), gap = e1 - 2.0, root = sqrt(gap * gap + 9.0 * e1);
    V t = select(gap > 0.0, 9.0 / (gap + root), (root - gap) / e1);
    const double constant = 2.0 * (alpha * std::log(alpha) + beta * std::log(beta));
    iterate(8, lanes, [&](M busy) {
      const V a = 1.0 + alpha + alpha * t, b = 2.0 - alpha + beta * t, c = t * (2.0 + t);
      const V value = 2.0 * (alpha * log(a) + beta * log(b)) - log(c) - constant - m;
      const V slope = 2.0 * (alpha * alpha / a + beta * beta / b) - (2.0 + 2.0 * t) / c, step = value / slope;
      t = select(busy, max(t - step, 0.1 * t), t);
      return abs(step) > last_step * unit<V> * t;
    });
    const V z2 = select(abs(s[2]) < 1e-140, V{}, -t / s[2]);
    return {{-(1.0 + alpha + alpha * t) / s[0], -(2.0 - alpha + beta * t) / s[1], -z2}};
  }

  // Curvature of the boundary at s along the tangent t; with ψ = α log x + (1-α) log y - log |w| it is -t'∇²ψ t / |∇ψ|.
  V curvature(const Vector3<V>& s, const Vector3<V>& t) const {
    const V tiny = splat<V>(1e-100), x = 1.0 / max(s[0], tiny), y = 1.0 / max(s[1], tiny), w = 1.0 / max(abs(s[2]), tiny);
    const double beta = 1.0 - alpha;
    const V bend = t[0] * x - t[1] * y;
    return alpha * beta * bend * bend / sqrt(alpha * alpha * x * x + beta * beta * y * y + w * w);
  }
  // Of the curve of unit vectors p in the boundary, n its inward normal and t its unit tangent; and its derivative along the curve.
  std::pair<V, V> geodesic_curvature(const Vector3<V>& p, const Vector3<V>& n, const Vector3<V>& t) const {
    const double a2 = alpha * alpha, b2 = (1.0 - alpha) * (1.0 - alpha);
    const V tiny = splat<V>(1e-100), x = 1.0 / max(p[0], tiny), y = 1.0 / max(p[1], tiny), w = 1.0 / max(abs(p[2]), tiny);
    const V norm2 = a2 * x * x + b2 * y * y + w * w, first = alpha * (1.0 - alpha) / sqrt(norm2), bend = t[0] * x - t[1] * y;
    const V kappa = first * bend * bend, outward = select(p[2] < 0.0, -t[2], t[2]);
    const V bend_slope = kappa * (n[0] * x - n[1] * y) - t[0] * t[0] * x * x + t[1] * t[1] * y * y;
    const V norm_slope = -(a2 * x * x * x * t[0] + b2 * y * y * y * t[1] + w * w * w * outward);
    return {kappa, 2.0 * first * bend * bend_slope - kappa * norm_slope / norm2};
  }
  // A complementary pair on the boundaries, close to Π(w) and Π(w) - w for w outside the cone and its polar and (s, z) close to
  // them. With r = |s₂|, μ = r(|w₂| - r): s₀ = (w₀ + √(w₀² + 4αμ))/2, s₁ likewise with 1-α, and r = s₀^α s₁^(1-α) by Newton's
  // method (as in Hien 2015); z = μ (α/s₀, (1-α)/s₁, ∓1/r).
  void touch(const Vector3<V>& w, Vector3<V>& s, Vector3<V>& z, M lanes) const {
    const double beta = 1.0 - alpha;
    const V tiny = splat<V>(1e-150), size = max(abs(w[2]), tiny);
    V r = min(max(abs(s[2]), 1e-3 * size), 0.999 * size), mu, x, y, product;
    const auto root = [&](V head, double weight) {
      const V length = sqrt(head * head + 4.0 * weight * mu);
      return max(select(head > 0.0, 0.5 * (head + length), 2.0 * weight * mu / max(length - head, tiny)), tiny);
    };
    const auto place = [&] {
      mu = r * (size - r);
      x = root(w[0], alpha);
      y = root(w[1], beta);
      product = exp(alpha * log(x) + beta * log(y));
    };
    iterate(8, lanes, [&](M busy) {
      place();
      const V change = (size - 2.0 * r) * product *
                           (alpha * alpha / (x * max(2.0 * x - w[0], tiny)) + beta * beta / (y * max(2.0 * y - w[1], tiny))) -
                       1.0;
      const V step = (product - r) / change;
      r = select(busy, min(max(r - select(finite(step), step, V{}), 0.1 * r), 0.5 * (r + size)), r);
      return abs(step) > last_step * unit<V> * r;
    });
    place();
    mu = max(mu, V{});
    const V sign = select(w[2] < 0.0, splat<V>(-1.0), splat<V>(1.0));
    s = {{x, y, sign * product}};
    z = {{alpha * mu / x, beta * mu / y, -sign * mu / product}};
  }

  M projects_on_face(const Vector3<V>&) const { return M{}; }

  M contains_primal(const Vector3<V>& s) const { return contains(s, 1.0, 1.0); }
  M contains_dual(const Vector3<V>& z) const { return contains(z, alpha, 1.0 - alpha); }

  // For one point: x^α y^(1-α) - |w|, and the same of the dual cone; negative outside.
  static double primal_depth(const Cone& cone, const double* s) {
    return std::pow(std::max(s[0], 0.0), cone.alpha) * std::pow(std::max(s[1], 0.0), 1.0 - cone.alpha) - std::abs(s[2]);
  }
  static double dual_depth(const Cone& cone, const double* z) {
    const double scaled[3] = {z[0] / cone.alpha, z[1] / (1.0 - cone.alpha), z[2]};
    return primal_depth(cone, scaled);
  }

 private:
  V power_product(const Vector3<V>& z) const {
    return exp(2.0 * (alpha * log(z[0] / alpha) + (1.0 - alpha) * log(z[1] / (1.0 - alpha))));
  }
  M contains(const Vector3<V>& u, double first, double second) const {
    const M positive = (u[0] > 0.0) & (u[1] > 0.0);
    const V one = splat<V>(1.0), w = max(abs(u[2]), splat<V>(1e-150));
    const V x = select(positive, u[0], one) / (first * w), y = select(positive, u[1], one) / (second * w);
    return positive & (alpha * log(x) + (1.0 - alpha) * log(y) > 0.0);
  }
};

}  // namespace cvxl::CVXL_ISA
