#pragma once
// From a solution to the point of the central path at μ, W instances at a time: Newton's method on
//
//     Px + q + A'z = 0,   Ax + s = b,   z = -μ∇f(s)     (s_i z_i = μ on nonnegative rows; f the barrier of K).
//
// The derivative of the solution at μ > 0 is that of this point: smooth in the data, and close to the exact one where that exists.
// With exponential and power cones all rows start at the central point of K, and steps stay close to the central path; without,
// nonnegative rows start at s z = μ with s - z as it is, close by wherever the solution is well determined; where it is not, the
// way to the analytic centre of a face is the usual damped Newton path.

#include "cones/cones.hpp"
#include "kkt/equilibrate.hpp"
#include "kkt/factor.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Centre {
 public:
  using M = Mask<lanes_of<V>>;

  ProgramPack<V> program;
  V *x, *z, *s;  // in: the solution; out: the point

  Centre(const Plan& plan, Arena& arena)
      : program(plan, arena), plan_(plan), scaling_(plan, arena, 4.0), cones_(plan, arena), kkt_(plan, arena), rotated_(arena.take<V>(plan.A.nnz())) {
    for (V** v : {&x, &rx_, &dx_, &t1_, &u1_, &v1_}) *v = arena.take<V>(plan.n);
    for (V** v : {&z, &s, &rz_, &c_, &ds_, &dz_, &t2_, &u2_, &v2_}) *v = arena.take<V>(plan.m);
  }

  // Moves the given lanes; μ in the user's units.
  void run(double smoothing, M lanes) {
    scaling_.scale_matrices(program, ~M{}, true);
    scaling_.scale_vectors(program, ~M{}, true);
    const V mu = scaling_.c * smoothing, c_inverse = 1.0 / scaling_.c;
    for (Index j = 0; j < plan_.n; ++j) x[j] *= scaling_.D_inverse[j];
    for (Index i = 0; i < plan_.m; ++i) {
      s[i] *= scaling_.E[i];
      z[i] *= scaling_.c * scaling_.E_inverse[i];
    }
    begin(mu, lanes);
    alpha_ = splat<V>(1.0);
    slope_ = splat<V>(-1.0);
    M busy = lanes;
    for (int pass = 0; pass < passes && any(busy); ++pass) busy &= ~step(mu, busy);
    for (Index j = 0; j < plan_.n; ++j) x[j] *= scaling_.D[j];
    for (Index i = 0; i < plan_.m; ++i) {
      s[i] *= scaling_.E_inverse[i];
      z[i] *= scaling_.E[i] * c_inverse;
    }
  }

 private:
  void begin(V mu, M lanes) {
    std::copy(s, s + plan_.m, v2_);
    std::copy(z, z + plan_.m, u2_);
    cones_.begin(s, z, lanes);
    for (Index i = 0; i < plan_.zero; ++i) {
      s[i] = V{};
      z[i] = u2_[i];
    }
    if (!cones_.symmetric()) return;
    for (Index i = plan_.zero; i < plan_.orthant_end; ++i) {
      const V w = v2_[i] - u2_[i], root = sqrt(w * w + 4.0 * mu), large = 0.5 * (abs(w) + root);
      s[i] = select(w > 0.0, large, mu / large);
      z[i] = select(w > 0.0, mu / large, large);
    }
  }

  // One Newton step; returns the lanes that it has not changed any more.
  M step(V mu, M lanes) {
    V gap = V{};
    for (Index i = plan_.zero; i < plan_.m; ++i) gap += s[i] * z[i];
    // A step that had to be short asks for one that goes for the centre.
    const V sigma = select(alpha_ < 0.3, splat<V>(0.8), splat<V>(0.1));
    V target = max(mu, sigma * gap / std::max(cones_.degree(), 1.0));
    program.products(x, z, rx_, rz_, t1_);
    V residual = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      rx_[j] = -(rx_[j] + program.q[j] + t1_[j]);
      residual = max(residual, abs(rx_[j]));
    }
    for (Index i = 0; i < plan_.m; ++i) {
      rz_[i] += s[i] - program.b[i];
      residual = max(residual, abs(rz_[i]));
    }
    if (!cones_.symmetric()) {  // the gap waits for the residuals: close to the boundary there is no way to remove them
      const V average = gap / cones_.degree();
      slope_ = select(slope_ < 0.0, average / max(residual, splat<V>(1e-300)), slope_);
      target = max(target, residual * slope_);
    }
    cones_.scale(s, z, target, ~M{});
    cones_.rotate_matrix(program.A, rotated_);
    for (Index i = 0; i < plan_.m; ++i) {
      const V e2 = 1.0 / (1.0 + cones_.h[i]);
      kkt_.e[i] = sqrt(e2);
      kkt_.delta[i] = (cones_.h[i] + regularization) * e2;
    }
    kkt_.factorize(program.P, rotated_, splat<V>(regularization));

    for (Index i = 0; i < plan_.m; ++i) t2_[i] = u2_[i] = V{};
    cones_.complement(s, z, t2_, u2_, V{}, target, c_);
    for (Index i = 0; i < plan_.m; ++i) rz_[i] = c_[i] - rz_[i];
    solve_refined();

    // ds = -(c + H dz), H dz = T'(h T dz).
    std::copy(dz_, dz_ + plan_.m, ds_);
    apply_scaling(ds_);
    for (Index i = 0; i < plan_.m; ++i) ds_[i] = i < plan_.zero ? V{} : -(c_[i] + ds_[i]);
    alpha_ = min(splat<V>(1.0), 0.99 / max(cones_.reach(s, ds_, z, dz_), splat<V>(1e-100)));
    if (!cones_.symmetric()) alpha_ = stay_central(cones_.backtrack(s, ds_, z, dz_, alpha_, lanes), lanes);

    V change = V{}, size = splat<V>(1.0), relative = V{}, s_size = V{}, z_size = V{}, s_change = V{}, z_change = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      change = max(change, abs(dx_[j]));
      size = max(size, abs(x[j]));
      x[j] = select(lanes, x[j] + alpha_ * dx_[j], x[j]);
    }
    for (Index i = 0; i < plan_.m; ++i) {
      if (i >= plan_.orthant_end) {
        s_size = max(s_size, abs(s[i]));
        z_size = max(z_size, abs(z[i]));
        s_change = max(s_change, abs(ds_[i]));
        z_change = max(z_change, abs(dz_[i]));
      } else if (i >= plan_.zero) {
        relative = max(relative, max(abs(ds_[i] / s[i]), abs(dz_[i] / z[i])));
      }
      s[i] = select(lanes, s[i] + alpha_ * ds_[i], s[i]);
      z[i] = select(lanes, z[i] + alpha_ * dz_[i], z[i]);
    }
    // A point of a cone block may be as near to the boundary as μ over the size of its partner.
    relative = max(relative, max(s_change * z_size, z_change * s_size) / mu);
    // Newton's method squares what is left: a step this small ends at rounding.
    return (target <= mu * (1.0 + 1e-12)) & (alpha_ >= 1.0) & (change <= settled * size) & (relative <= settled);
  }

  // Shortens α until the barriers of the new point exceed the least possible at its gap by less than one.
  V stay_central(V alpha, M lanes) {
    M off = lanes;
    for (int trial = 0; trial < 60 && any(off); ++trial) {
      V gap = V{};
      for (Index i = plan_.zero; i < plan_.m; ++i) gap += (s[i] + alpha * ds_[i]) * (z[i] + alpha * dz_[i]);
      const double degree = cones_.degree();
      const V excess = degree * log(max(gap / degree, splat<V>(1e-300))) + cones_.barrier(s, ds_, z, dz_, alpha);
      off &= ~(excess < 1.0);
      alpha *= select(off, splat<V>(0.8), splat<V>(1.0));
    }
    return alpha;
  }

  void apply_scaling(V* v) {
    cones_.forward(v);
    for (Index i = 0; i < plan_.m; ++i) v[i] *= cones_.h[i];
    cones_.back(v);
  }

  // [P, A'; A, -H] (dx, dz) = (rx, rz), refined against the unregularized matrix.
  void solve_refined() {
    std::copy(rx_, rx_ + plan_.n, t1_);
    std::copy(rz_, rz_ + plan_.m, t2_);
    for (Index j = 0; j < plan_.n; ++j) dx_[j] = V{};
    for (Index i = 0; i < plan_.m; ++i) dz_[i] = V{};
    for (int pass = 0;; ++pass) {
      cones_.forward(t2_);
      kkt_.solve(rotated_, t1_, t2_, u1_, u2_);
      cones_.back(u2_);
      for (Index j = 0; j < plan_.n; ++j) dx_[j] += u1_[j];
      for (Index i = 0; i < plan_.m; ++i) dz_[i] += u2_[i];
      if (pass == refinements) return;
      program.products(dx_, dz_, t1_, t2_, v1_);
      std::copy(dz_, dz_ + plan_.m, v2_);
      apply_scaling(v2_);
      for (Index j = 0; j < plan_.n; ++j) t1_[j] = rx_[j] - (t1_[j] + v1_[j]);
      for (Index i = 0; i < plan_.m; ++i) t2_[i] = rz_[i] - (t2_[i] - v2_[i]);
    }
  }

  static constexpr double regularization = 1e-9;
  static constexpr double settled = 1e-8;
  static constexpr int refinements = 2;
  static constexpr int passes = 60;

  const Plan& plan_;
  Scaling<V> scaling_;
  Cones<V> cones_;
  Kkt<V> kkt_;
  V* rotated_;
  V alpha_{}, slope_{};  // the last step; gap over residual at the start
  V *rx_, *rz_, *c_, *dx_, *ds_, *dz_, *t1_, *t2_, *u1_, *u2_, *v1_, *v2_;
};

}  // namespace cvxl::CVXL_ISA
