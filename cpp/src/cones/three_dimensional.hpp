#pragma once
// One exponential or power cone. `Barrier`, Exponential or Power, has the formulas in which they differ.

#include "cones/barrier.hpp"
#include "cones/cone.hpp"

namespace cvxl::CVXL_ISA {

template <class V, class Barrier>
class ThreeDimensional {
 public:
  using M = MaskOf<V>;
  static constexpr bool symmetric = false;

  ThreeDimensional(const Cone& cone, Arena&) : barrier_(cone) {}

  static double degree(const Cone&) { return 3.0; }

  void central(V* u) const { barrier_.central(u); }

  // Chooses the units of `differentiate` and `project` in the given lanes: where s and z, or the entries of either, are of sizes
  // more than `most` apart, such that they are not; else, and in lanes that are not `settled`, the user's.
  bool choose_units(const V* s_, const V* z_, double most, M settled, M lanes) {
    const Vector3<V> s{{s_[0], s_[1], s_[2]}}, z{{z_[0], z_[1], z_[2]}};
    const Automorphism<V> centring = barrier_.centring(s, z);
    const V tiny = splat<V>(1e-200), one = splat<V>(1.0);
    const auto ratio = [&](const Vector3<V>& a, const Vector3<V>& b) {
      return sqrt(sqrt(max(dot(a, a), tiny) / max(dot(b, b), tiny)));
    };
    const auto wide = [&](V value) { return (value > most) | (value * most < 1.0); };
    const M centred = settled & finite(centring.l) & wide(centring.d[1] / centring.d[2]);
    for (int i = 0; i < 3; ++i) unit_.d[i] = select(lanes, select(centred, centring.d[i], one), unit_.d[i]);
    unit_.l = select(lanes, select(centred, centring.l, V{}), unit_.l);
    const V size = ratio(unit_.dual(z), unit_.primal(s));
    const M balanced = lanes & settled & (centred | wide(size * size));
    for (V& d : unit_.d) d *= select(balanced, size, one);
    return true;
  }

  // H at (s, z): the primal-dual scaling of Tunçel (2001) as in Dahl and Andersen (Math. Program. 194, 2022), H z = s and
  // H ∇f(s) = ∇f*(z),
  //
  //     H = ss'/s'z + δδ'/δ'ε + t aa',   δ = s + μ∇f*(z),   ε = z + μ∇f(s),   a ⟂ z, ∇f(s),   t = μ/(a'∇²f*(z)⁻¹a);
  //
  // or μ∇²f*(z) (its own μ if none is given) in the `dual` lanes and where the secant equations degenerate (on the central path
  // both agree). Either way H = BB' with three known columns, whose sizes differ by up to 1/μ.
  void scale(const V* s_, const V* z_, V mu, M dual, M lanes, Frames frames, V* h) {
    const Vector3<V> s{{s_[0], s_[1], s_[2]}}, z{{z_[0], z_[1], z_[2]}};
    const Vector3<V> st = barrier_gradient(barrier_.kernel(z), z), zt = barrier_.primal_gradient(s, lanes);
    hessian_ = barrier_.hessian(z);
    const V sz = dot(s, z), own_mu = sz / 3.0, mu_t = dot(st, zt) / 3.0, barrier_mu = select(mu > 0.0, mu, own_mu);
    Vector3<V> delta, epsilon, axis = cross(z, zt);
    for (int i = 0; i < 3; ++i) {
      delta[i] = s[i] + own_mu * st[i];
      epsilon[i] = z[i] + own_mu * zt[i];
    }
    const V product = dot(delta, epsilon), t = own_mu / dot(axis, hessian_.solve(axis));  // |a|² is in t
    const M secant = ~dual & (abs(own_mu * mu_t - 1.0) > 1.5e-8) & (sz > 0.0) & (product > 0.0) & (t > 0.0) & finite(t);
    const auto root = [&](V own, V other) { return sqrt(max(select(secant, own, barrier_mu * other), V{})); };
    const V weight[3] = {root(1.0 / sz, hessian_.D[0]), root(1.0 / product, hessian_.D[1]), root(t, hessian_.D[2])};
    V B[9];  // by columns
    for (int i = 0; i < 3; ++i) {
      B[i] = weight[0] * select(secant, s[i], hessian_.inverse[3 * i]);
      B[3 + i] = weight[1] * select(secant, delta[i], hessian_.inverse[3 * i + 1]);
      B[6 + i] = weight[2] * select(secant, axis[i], hessian_.inverse[3 * i + 2]);
    }
    frames == Frames::orthonormal ? frame_.orthogonalize(B, lanes, h) : frame_.triangulate(B, h);
  }

  // cos² of the angle between s and z, in units that centre them.
  V cosine2(const V* s_, const V* z_) const {
    Vector3<V> s{{s_[0], s_[1], s_[2]}}, z{{z_[0], z_[1], z_[2]}};
    const Automorphism<V> unit = barrier_.centring(s, z);
    const M known = finite(unit.l) & finite(unit.d[1]) & finite(unit.d[2]) & (unit.d[2] > 0.0);
    const Vector3<V> p = unit.primal(s), q = unit.dual(z);
    for (int i = 0; i < 3; ++i) {
      s[i] = select(known, p[i], s[i]);
      z[i] = select(known, q[i], z[i]);
    }
    const V product = dot(s, z);
    return product * product / max(dot(s, s) * dot(z, z), splat<V>(1e-300));
  }

  // c = s + σμ∇f*(z) - ½ ∇³f*(z)[∇²f*(z)⁻¹ds, dz]
  void complement(const V* s, const V* z_, const V* ds_, const V* dz_, V m, V sigma_mu, V* c) const {
    const Vector3<V> z{{z_[0], z_[1], z_[2]}}, ds{{ds_[0], ds_[1], ds_[2]}}, dz{{dz_[0], dz_[1], dz_[2]}};
    const Kernel3<V> kernel = barrier_.kernel(z);
    const Vector3<V> gradient = barrier_gradient(kernel, z), u = hessian_.solve(ds);
    const Vector3<V> third = barrier_third(kernel, z, u, dz, barrier_.third(z, u, dz));
    for (int i = 0; i < 3; ++i) {
      const V correction = 0.5 * m * third[i];
      c[i] = s[i] + sigma_mu * gradient[i] - select(finite(correction), correction, V{});
    }
  }

  // Outside the cone and its polar, s lies on the boundary and z along its inward normal: DΠ(w) is 1 along s, 0 along z, and on the
  // third direction t a step ε of s turns z by |z|κ ε, κ the curvature of the boundary: w moves by (1 + |z|κ) ε, and the eigenvalue
  // is 1/(1 + |z|κ). In units T of the block the frame is F T: forward for rows of A, back for multipliers. Ties are s or z that
  // are all but zero there.
  template <class Tie>
  void differentiate(const V* s_, const V* z_, V* d, V* rest, const Noise<V>& noise, Tie&& tie, M lanes) {
    const Vector3<V> s = unit_.primal({{s_[0], s_[1], s_[2]}}), z = unit_.dual({{z_[0], z_[1], z_[2]}});
    const Vector3<V> w{{s[0] - z[0], s[1] - z[1], s[2] - z[2]}};
    const V one = splat<V>(1.0), tiny = splat<V>(1e-150), s_norm = sqrt(dot(s, s)), z_norm = sqrt(dot(z, z));
    const auto [face, inside, polar] = regions(w);
    const M flat = face | inside | polar;
    // The longer of the two is known better: the other is made orthogonal to it.
    const M longer = s_norm >= z_norm;
    Vector3<V> p, g;
    const V inner = dot(s, z), first = 1.0 / max(select(longer, s_norm, z_norm), tiny);
    for (int i = 0; i < 3; ++i) {
      p[i] = select(longer, s[i], z[i]) * first;
      g[i] = select(longer, z[i], s[i]) - inner * first * p[i];
    }
    const V g_norm = 1.0 / max(sqrt(dot(g, g)), tiny);
    for (int i = 0; i < 3; ++i) g[i] *= g_norm;
    const Vector3<V> t = cross(p, g);
    const V bend = z_norm * barrier_.curvature(s, t), middle_value = 1.0 / (1.0 + bend);
    const auto put = [&](V& target, V value) { target = select(lanes, value, target); };
    V F[9];
    for (int i = 0; i < 3; ++i) {
      const V own = splat<V>(i == 0 ? 1.0 : 0.0), middle = splat<V>(i == 1 ? 1.0 : 0.0), last = splat<V>(i == 2 ? 1.0 : 0.0);
      F[i] = select(flat, own, select(longer, p[i], g[i]));
      F[3 + i] = select(flat, middle, select(longer, g[i], p[i]));
      F[6 + i] = select(flat, last, t[i]);
    }
    for (int k = 0; k < 3; ++k) {
      const V* f = F + 3 * k;
      put(frame_.T[3 * k], f[0] * unit_.d[0]);
      put(frame_.T[3 * k + 1], f[0] * unit_.d[0] * unit_.l + f[1] * unit_.d[1]);
      put(frame_.T[3 * k + 2], f[2] * unit_.d[2]);
    }
    put(d[0], select(polar, V{}, one));
    put(d[1], select(inside, one, V{}));
    const M third = inside | (face & (w[2] > 0.0)), none = polar | face;
    put(d[2], select(third, one, select(none, V{}, middle_value)));
    put(rest[0], select(polar, one, V{}));
    put(rest[1], select(inside, V{}, one));
    put(rest[2], select(third, V{}, select(none, one, bend * middle_value)));
    tie(0, ~flat & (s_norm <= noise.s));
    tie(1, ~flat & (z_norm <= noise.z));
  }

  // w = T u - T⁻ᵀv
  void difference(const V* u, const V* v, V* w) const {
    const Vector3<V> p = unit_.primal({{u[0], u[1], u[2]}}), q = unit_.dual({{v[0], v[1], v[2]}});
    for (int i = 0; i < 3; ++i) w[i] = p[i] - q[i];
  }

  // From a pair that is close to Π(w), Π(w) - w; on the central path s - z = w to a few digits.
  void project(const V* w_, V mu, V* s_, V* z_, M lanes) const {
    if (any(mu > 0.0)) return centre(w_, mu, s_, z_);
    const Vector3<V> w{{w_[0], w_[1], w_[2]}};
    const auto [face, inside, polar] = regions(w);
    Vector3<V> s = unit_.primal({{s_[0], s_[1], s_[2]}}), z = unit_.dual({{z_[0], z_[1], z_[2]}});
    barrier_.touch(w, s, z, lanes & ~(face | inside | polar));
    for (int i = 0; i < 3; ++i) {
      const V on_face = i == 0 ? w[0] : i == 1 ? V{} : max(w[2], V{});
      s[i] = select(inside, w[i], select(polar, V{}, select(face, on_face, s[i])));
      z[i] = select(inside, V{}, select(polar, -w[i], select(face, on_face - w[i], z[i])));
    }
    s = unit_.primal_back(s);
    z = unit_.dual_back(z);
    std::copy_n(s.v, 3, s_);
    std::copy_n(z.v, 3, z_);
  }

  V reach(const V*, const V*, const V*, const V*) const { return V{}; }
  M contains(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    const Vector3<V> p{{s[0] + alpha * ds[0], s[1] + alpha * ds[1], s[2] + alpha * ds[2]}};
    const Vector3<V> d{{z[0] + alpha * dz[0], z[1] + alpha * dz[1], z[2] + alpha * dz[2]}};
    return barrier_.contains_primal(p) & barrier_.contains_dual(d);
  }

  // f(s) + f*(z) + 3: 0 at the central point.
  V barrier(const V* s, const V* ds, const V* z, const V* dz, V alpha) const {
    const Vector3<V> p{{s[0] + alpha * ds[0], s[1] + alpha * ds[1], s[2] + alpha * ds[2]}};
    const Vector3<V> d{{z[0] + alpha * dz[0], z[1] + alpha * dz[1], z[2] + alpha * dz[2]}};
    Vector3<V> conjugate = barrier_.primal_gradient(p, ~M{});
    for (int i = 0; i < 3; ++i) conjugate[i] = -conjugate[i];
    // f(s) + 3 = -f*(-∇f(s)): the conjugate of f* with the sign of its argument turned.
    return value(d) - value(conjugate);
  }

  void forward(V* a, Index columns, V*) const { frame_.forward(a, columns); }
  void back(V* a, Index columns, V*) const { frame_.back(a, columns); }
  void inverse(V* a, V*) const { frame_.invert(a); }

  // The boundary is a cone over a curve p(θ) on the sphere, of geodesic curvature κ: with its inward normal n and tangent t,
  // p' = t, t' = -p + κn, n' = -κt. Then w = αp - βn gives dw = dα p + (α + βκ)dθ t - dβ n, DΠ = pp' + λtt', λ = α/(α + βκ), and
  // D²Π is the derivative of that.
  void projection_second_derivative(const V* w, const V* h, const V* k, V* g) const {
    const auto row = [&](int i) { return Vector3<V>{{frame_.T[3 * i], frame_.T[3 * i + 1], frame_.T[3 * i + 2]}}; };
    const auto [kappa, slope] = barrier_.geodesic_curvature(row(0), row(1), row(2));
    const V alpha = w[0], beta = -w[1], m = 1.0 / (alpha + beta * kappa), lambda = alpha * m, turn = h[2] * m;
    const V change = (h[0] - lambda * (h[0] - h[1] * kappa + beta * slope * turn)) * m;  // of λ
    const V value[3] = {turn * k[2] * (1.0 - lambda), turn * k[2] * lambda * kappa,
                        turn * (k[0] * (1.0 - lambda) + lambda * kappa * k[1]) + change * k[2]};
    const M curved = (alpha > 0.0) & (beta > 0.0) & (lambda > 0.0) & (lambda < 1.0);
    for (int i = 0; i < 3; ++i) g[i] = select(curved & finite(value[i]), value[i], V{});
  }

  void barrier_third_derivative(const V* s, const V* z, const V* h, const V* k, V* g) const {
    const auto turned_back = [&](const V* v) {
      Vector3<V> u{{v[0], v[1], v[2]}};
      frame_.back(u.v, 1);
      return u;
    };
    const Vector3<V> at = turned_back(z), u = turned_back(h), v = turned_back(k);
    const V mu = (s[0] * z[0] + s[1] * z[1] + s[2] * z[2]) / 3.0;
    const Vector3<V> third = barrier_third(barrier_.kernel(at), at, u, v, barrier_.third(at, u, v));
    for (int i = 0; i < 3; ++i) g[i] = mu * third[i];
    frame_.forward(g, 1);
  }

  static std::size_t margin_scratch(const Cone&) { return 0; }
  static double margin(const Cone& cone, const double* s, const double* z, double*) {
    const auto norm = [](const double* v) { return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); };
    const double depth = norm(z) < norm(s) ? Barrier::primal_depth(cone, s) : Barrier::dual_depth(cone, z);
    return std::max(std::min(norm(s), norm(z)), depth);
  }

 private:
  // Newton's method on ½|z|² + w'z + μf*(z), self-concordant over μ: steps 1/(1 + λ) stay inside, λ the decrement. From z + √μ e.
  void centre(const V* w, V mu, V* s, V* z) const {
    ThreeDimensional at = *this;  // a scaling of its own
    V e[3], h[3], g[3];
    barrier_.central(e);
    const V root = sqrt(mu);
    const M inside = barrier_.contains_dual({{z[0] + root * e[0], z[1] + root * e[1], z[2] + root * e[2]}});
    for (int i = 0; i < 3; ++i) z[i] = select(inside, z[i], V{}) + root * e[i];
    M busy = ~M{};
    for (int pass = 0;; ++pass) {
      const Vector3<V> point{{z[0], z[1], z[2]}}, gradient = barrier_gradient(barrier_.kernel(point), point);
      for (int i = 0; i < 3; ++i) s[i] = -mu * gradient[i];
      if (pass == 60 || !any(busy)) return;
      at.scale(s, z, mu, ~M{}, busy, Frames::orthonormal, h);
      for (int i = 0; i < 3; ++i) g[i] = z[i] + w[i] - s[i];
      at.frame_.forward(g, 1);
      V decrement2 = V{};
      for (int i = 0; i < 3; ++i) {
        const V step = g[i] / (1.0 + h[i]);
        decrement2 += g[i] * step / mu;
        g[i] = step;
      }
      at.frame_.back(g, 1);
      const V decrement = sqrt(decrement2), length = select(decrement > 0.25, 1.0 / (1.0 + decrement), splat<V>(1.0));
      busy &= finite(decrement);
      for (int i = 0; i < 3; ++i) z[i] -= select(busy, length * g[i], V{});
      busy &= decrement > 1e-4;
    }
  }

  struct Regions {
    M face, inside, polar;
  };
  // Where Π is linear: its image is the flat face of the exponential cone, w itself, or zero.
  Regions regions(const Vector3<V>& w) const {
    const M face = barrier_.projects_on_face(w);
    return {face, barrier_.contains_primal(w) & ~face, barrier_.contains_dual({{-w[0], -w[1], -w[2]}}) & ~face};
  }

  V value(const Vector3<V>& z) const {
    const Kernel3<V> k = barrier_.kernel(z);
    V sum = -log(max(k.r, splat<V>(1e-300)));
    for (int i = 0; i < 3; ++i)
      if (k.beta[i] != 0.0) sum -= k.beta[i] * log(abs(z[i]));
    return sum;
  }

  Barrier barrier_;
  DenseFrame<V> frame_{};
  Congruence3<V> hessian_{};  // ∇²f* at the point of the last scaling
  Automorphism<V> unit_{};
};

}  // namespace cvxl::CVXL_ISA
