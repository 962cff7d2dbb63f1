#pragma once
// From a solution to the point of the central path at μ, W instances at a time: Newton's method on
//
//     Px + q + A'z = r₁,   Ax + s - b = r₂,   z = -μ∇f(s)     (s_i z_i = μ on nonnegative rows; f the barrier of K)
//
// while r → 0. The derivative of the solution at μ > 0 is that of this point: smooth in the data, and close to the exact one where
// that exists.
//
// s and z start on the central path of K itself, with s - z = w as it is: then r₂ = s - s*, r₁ = A'(z - z*), small where the
// solution is well determined. For every multiple of that r there is such a point, so that the way is smooth, and Newton's method
// follows it in steps as long as
//
//     ψ = s'z/μ + f(s) + f*(z) + ν log μ   ≥ 0, = 0 on the path
//
// stays below 1. Where r stays as it is ψ is convex and self-concordant, and with a scaling that maps z to s and ∇f(s) to ∇f*(z)
// every direction descends: a lane whose steps are short turns to the centre and can go on.

#include "cones/cones.hpp"
#include "kkt/equilibration.hpp"
#include "kkt/factor.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Centre {
 public:
  using M = MaskOf<V>;

  ProgramPack<V> program;
  V *x, *z, *s;  // in: the solution; out: the point

  Centre(const PlanView& plan, Arena& arena)
      : program(plan, arena),
        plan_(plan),
        scaling_(plan, arena, 4.0),
        cones_(plan, arena),
        kkt_(plan, arena),
        rotated_(arena.take<V>(plan.A.nnz())) {
    cones_.lend_frames(kkt_);
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
      if (i < plan_.zero) s[i] = V{};
      c_[i] = s[i] - z[i];
    }
    cones_.project(c_, mu, s, z, lanes);
    alpha_ = splat<V>(1.0);
    M busy = lanes;
    for (int pass = 0; pass < passes && any(busy); ++pass) busy &= ~step(mu, busy);
    for (Index j = 0; j < plan_.n; ++j) x[j] *= scaling_.D[j];
    for (Index i = 0; i < plan_.m; ++i) {
      s[i] *= scaling_.E_inverse[i];
      z[i] *= scaling_.E[i] * c_inverse;
    }
  }

 private:
  // One Newton step; returns the lanes that it has not changed any more.
  M step(V mu, M lanes) {
    // A step that had to be short asks for one that goes for the centre.
    const V keep = select(alpha_ < 0.5, select(alpha_ < 0.1, splat<V>(1.0), splat<V>(0.5)), V{});
    cones_.scale(s, z, mu, M{}, ~M{}, Frames::orthonormal);
    cones_.copy_plain_rows(program.A, rotated_);
    cones_.rotate_rows_of_cones(program.A, rotated_);
    for (Index i = 0; i < plan_.m; ++i) {
      const V e2 = 1.0 / (1.0 + cones_.h[i]);
      kkt_.e[i] = sqrt(e2);
      kkt_.delta[i] = (cones_.h[i] + regularization) * e2;
    }
    kkt_.factorize(program.P, rotated_, splat<V>(regularization));

    for (Index i = 0; i < plan_.m; ++i) t2_[i] = u2_[i] = V{};
    cones_.complement(s, z, t2_, u2_, V{}, mu, c_);
    program.products(x, z, rx_, rz_, t1_);
    for (Index j = 0; j < plan_.n; ++j) rx_[j] = (keep - 1.0) * (rx_[j] + program.q[j] + t1_[j]);
    for (Index i = 0; i < plan_.m; ++i) rz_[i] = (keep - 1.0) * (rz_[i] + s[i] - program.b[i]) + c_[i];
    solve_refined();
    const V length = complete(mu);

    alpha_ = min(splat<V>(1.0), 0.99 / max(cones_.reach(s, ds_, z, dz_), splat<V>(1e-100)));
    alpha_ = stay_central(cones_.backtrack(s, ds_, z, dz_, alpha_, lanes), mu, lanes);
    V change = V{}, size = splat<V>(1.0);
    for (Index j = 0; j < plan_.n; ++j) {
      change = max(change, abs(dx_[j]));
      size = max(size, abs(x[j]));
      x[j] = select(lanes, x[j] + alpha_ * dx_[j], x[j]);
    }
    for (Index i = 0; i < plan_.m; ++i) {
      s[i] = select(lanes, s[i] + alpha_ * ds_[i], s[i]);
      z[i] = select(lanes, z[i] + alpha_ * dz_[i], z[i]);
    }
    // Newton's method squares what is left: a step this small ends at rounding.
    return (keep == 0.0) & (alpha_ >= 1.0) & (change <= settled * size) & (length <= settled);
  }

  // ds = -(c + H dz); returns the length of (ds, dz) in the norms of the barriers.
  V complete(V mu) {
    std::copy(dz_, dz_ + plan_.m, ds_);
    std::copy(c_, c_ + plan_.m, t2_);
    cones_.forward(ds_);
    cones_.forward(t2_);
    V length2 = V{};
    for (Index i = 0; i < plan_.m; ++i) {
      if (i < plan_.zero) {
        ds_[i] = V{};
        continue;
      }
      const V along = ds_[i];
      ds_[i] = -(t2_[i] + cones_.h[i] * along);
      length2 += cones_.h[i] * along * along + ds_[i] * ds_[i] / cones_.h[i];
    }
    cones_.back(ds_);
    return sqrt(length2 / mu);
  }

  // Shortens α until ψ < 1.
  V stay_central(V alpha, V mu, M lanes) {
    const double degree = cones_.degree();
    M off = lanes;
    for (int trial = 0; trial < 40; ++trial) {
      V gap = V{};
      for (Index i = plan_.zero; i < plan_.m; ++i) gap += (s[i] + alpha * ds_[i]) * (z[i] + alpha * dz_[i]);
      off &= ~(gap / mu - degree + degree * log(mu) + cones_.barrier(s, ds_, z, dz_, alpha) < 1.0);
      if (!any(off)) break;
      alpha *= select(off, splat<V>(0.7), splat<V>(1.0));
    }
    return select(off, V{}, alpha);
  }

  void apply_scaling(V* v) {
    cones_.forward(v);
    for (Index i = 0; i < plan_.m; ++i) v[i] *= cones_.h[i];
    cones_.back(v);
  }

  // [P, A'; A, -H] (dx, dz) = (rx, rz), refined against the unregularized matrix.
  void solve_refined() {
    cones_.check_frames();
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

  const PlanView& plan_;
  Equilibration<V> scaling_;
  Cones<V> cones_;
  Kkt<V> kkt_;
  V* rotated_;
  V alpha_{};  // the last step
  V *rx_, *rz_, *c_, *dx_, *ds_, *dz_, *t1_, *t2_, *u1_, *u2_, *v1_, *v2_;
};

}  // namespace cvxl::CVXL_ISA
