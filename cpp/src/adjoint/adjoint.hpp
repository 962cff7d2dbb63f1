#pragma once
// Implicit derivatives of a solution, W instances at a time.
//
// At a solution the map from data to (x, z) is differentiated through w = s - z, s = Π(w): with D = DΠ(w), E = (I - D)^(1/2) and
// dz = E ζ the linearized optimality conditions are
//
//     K_E (dx, ζ) = -(dP x + dq + dA'z,  E (dA x - db)),      K_E = [P, A'E; E A, -D],
//
// symmetric and bounded. For zero and nonnegative cones E is 1 on equalities and active rows (s ≤ z) and 0 elsewhere, so every
// active set has the same sparsity. Since K_E is symmetric, the adjoint solves with the same matrix: K_E (a, ·) = (x̄, E z̄), y = E ·,
//
//     q̄ = -a,   b̄ = y,   Ā_ij = -(z_i a_j + y_i x_j),   P̄_ij = -(a_i x_j + a_j x_i)   (off-diagonal, stored once),   P̄_ii = -a_i x_i.
//
// K_E may be singular (dependent active rows, solutions that are not unique); (a, y) is then the minimum-norm least-squares solution
// pinv(K_E) r. It is factored with δ J, J = diag(I, -I), added and the residual of K_E itself is refined: t ← δ J (K_E + δ J)⁻¹ t.
// The null space of K_E is a product N_x × N_z, which J maps to itself, and so is its complement; on the complement the iteration
// contracts, on the null space it is the identity. Repeating it therefore projects on the null space. That serves twice: the part
// of r that no solution can reach is removed (and the instance flagged), and so is what rounding, divided by δ, has put into
// the null space of (a, y). Whether there may be a null space is found by solving once for a pseudo-random right-hand side, whose
// component in it comes out multiplied by 1/δ: a choice that depends on K_E alone, so that VJP and JVP stay adjoint. Where the
// refinement ends early because K_E is ill-conditioned but not singular, a smaller δ settles it.
//
// Everything is solved in equilibrated units (kkt/equilibrate.hpp) where the data are scaled badly, and "norm" means the norm there.

#include "kkt/equilibrate.hpp"
#include "kkt/factor.hpp"
#include "kkt/program_pack.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Adjoint {
 public:
  using M = Mask<lanes_of<V>>;

  ProgramPack<V> program;
  V *x, *z, *s;    // the tape
  V *a, *y;        // solution of the last solve
  V *r1, *r2;      // its right-hand side
  M degenerate{};  // lanes flagged so far

  Adjoint(const Plan& plan, Arena& arena)
      : program(plan, arena),
        plan_(plan),
        regularization_(plan.P.nnz() > 0 ? 1e-5 : 1e-4),
        scaling_(plan, arena, 32.0),
        kkt_(plan, arena) {
    for (V** v : {&x, &a, &r1, &t1_, &Aty_, &c1_, &w1_, &v1_}) *v = arena.take<V>(plan.n);
    for (V** v : {&z, &s, &y, &r2, &t2_, &c2_, &w2_, &v2_}) *v = arena.take<V>(plan.m);
    active_ = arena.take<M>(plan.m);
  }

  // Factors K_E at the tape of the valid lanes. Lanes with s = z = 0 in some row have no derivative; they are flagged, and the row
  // counts as active.
  void linearize(M valid) {
    valid_ = valid;
    degenerate = M{};
    scaling_.scale_matrices(program, ~M{}, true);
    for (Index i = 0; i < plan_.m; ++i) {
      const V slack = scaling_.E[i] * s[i], dual = scaling_.c * scaling_.E_inverse[i] * z[i];
      active_[i] = i < plan_.zero ? ~M{} : slack <= dual;
      if (i >= plan_.zero) degenerate |= valid & (max(slack, dual) < tie);
    }
    factorize(splat<V>(regularization_));
    probe();
  }

  // (a, y) = pinv(K_E) (r1, r2); r2 counts on active rows only. Overwrites r1, r2.
  void solve() {
    const V c_inverse = 1.0 / scaling_.c;
    V norm = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      r1[j] *= scaling_.c * scaling_.D[j];
      norm = max(norm, abs(r1[j]));
    }
    for (Index i = 0; i < plan_.m; ++i) {
      r2[i] = select(active_[i], scaling_.E[i] * r2[i], V{});
      norm = max(norm, abs(r2[i]));
    }
    if (any(singular_)) remove_unreachable(norm, singular_);
    const V residual = refine(norm, valid_);
    if (const M unsettled = valid_ & ~singular_ & ~(residual <= settled * norm); any(unsettled)) insist(norm, unsettled);
    if (any(singular_)) {
      project_on_null_space(a, y, singular_);
      subtract(a, y, singular_);
    }
    for (Index j = 0; j < plan_.n; ++j) a[j] *= scaling_.D[j];
    for (Index i = 0; i < plan_.m; ++i) y[i] *= scaling_.E[i] * c_inverse;
  }

 private:
  void factorize(V delta) {
    const V one = splat<V>(1.0);
    for (Index i = 0; i < plan_.m; ++i) {
      kkt_.e[i] = select(active_[i], one, V{});
      kkt_.delta[i] = select(active_[i], delta, one);
    }
    kkt_.factorize(program.P, program.A, delta);
  }

  // Whether K_E has a null space, judged by the solution for a pseudo-random right-hand side: it is large, and with a smaller δ
  // still as large as δ allows.
  void probe() {
    std::uint64_t state = 1;
    const auto next = [&] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return splat<V>(static_cast<double>(state >> 11) * 0x1p-52 - 1.0);  // uniform in [-1, 1)
    };
    for (Index j = 0; j < plan_.n; ++j) r1[j] = next();
    for (Index i = 0; i < plan_.m; ++i) r2[i] = select(active_[i], next(), V{});
    const auto reaches = [&](double limit) {
      kkt_.solve(program.A, r1, r2, c1_, c2_);
      return largest(c1_, c2_) > limit;
    };
    singular_ = valid_ & reaches(0.01 / regularization_);
    if (!any(singular_)) return;
    const V delta = splat<V>(regularization_);
    factorize(select(singular_, splat<V>(probe_regularization), delta));
    singular_ &= reaches(0.03 / probe_regularization);
    factorize(delta);
  }

  // Lanes whose refinement got stuck: again with a smaller δ.
  void insist(V norm, M lanes) {
    const V delta = splat<V>(regularization_);
    factorize(select(lanes, splat<V>(small_regularization), delta));
    degenerate |= lanes & ~(refine(norm, lanes) <= consistent * norm);
    factorize(delta);
    // The probe may miss a null space that it is all but orthogonal to; then the solution explodes here.
    const M missed = lanes & ~(largest(a, y) < 0.01 / small_regularization * norm);
    if (!any(missed)) return;
    singular_ |= missed;
    remove_unreachable(norm, missed);
    refine(norm, missed);
  }

  // Takes out of r what no solution can reach, and flags the lanes where that is not nothing.
  void remove_unreachable(V norm, M lanes) {
    project_on_null_space(r1, r2, lanes);
    degenerate |= lanes & (largest(t1_, t2_) > consistent * norm);
    subtract(r1, r2, lanes);
  }

  // t = the projection of (p, q) on the null space of K_E, in the given lanes: repeated until only rounding changes it. Each solve is
  // refined once, because a factor 1/δ² separates the null space from the rest.
  void project_on_null_space(const V* p, const V* q, M lanes) {
    std::copy(p, p + plan_.n, t1_);
    std::copy(q, q + plan_.m, t2_);
    M busy = lanes;
    const V negligible = roundoff * largest(t1_, t2_);
    V change = splat<V>(__builtin_inf());
    for (int pass = 0; pass < projections && any(busy); ++pass) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      program.products(c1_, c2_, w1_, w2_, Aty_);
      for (Index j = 0; j < plan_.n; ++j) w1_[j] = t1_[j] - (w1_[j] + Aty_[j] + regularization_ * c1_[j]);
      for (Index i = 0; i < plan_.m; ++i) w2_[i] = select(active_[i], t2_[i] - (w2_[i] - regularization_ * c2_[i]), V{});
      kkt_.solve(program.A, w1_, w2_, v1_, v2_);
      const V before = change;
      change = V{};
      const auto move = [&](V& t, V next) {
        change = max(change, abs(next - t));
        t = select(busy, next, t);
      };
      for (Index j = 0; j < plan_.n; ++j) move(t1_[j], regularization_ * (c1_[j] + v1_[j]));
      for (Index i = 0; i < plan_.m; ++i) move(t2_[i], -regularization_ * (c2_[i] + v2_[i]));
      busy &= (largest(t1_, t2_) > negligible) & (change < 0.5 * before);
    }
  }

  // (u, v) -= t in the given lanes.
  void subtract(V* u, V* v, M lanes) {
    for (Index j = 0; j < plan_.n; ++j) u[j] = select(lanes, u[j] - t1_[j], u[j]);
    for (Index i = 0; i < plan_.m; ++i) v[i] = select(lanes, v[i] - t2_[i], v[i]);
  }

  V largest(const V* p, const V* q) const {
    V size = V{};
    for (Index j = 0; j < plan_.n; ++j) size = max(size, abs(p[j]));
    for (Index i = 0; i < plan_.m; ++i) size = max(size, abs(q[i]));
    return size;
  }

  // Solves in the given lanes, refining until the residual no longer shrinks; leaves it in (t1_, t2_) and returns its largest entry.
  V refine(V norm, M lanes) {
    for (Index j = 0; j < plan_.n; ++j) a[j] = select(lanes, V{}, a[j]);
    for (Index i = 0; i < plan_.m; ++i) y[i] = select(lanes, V{}, y[i]);
    V residual = residuals();
    M busy = lanes;
    for (int pass = 0; pass < passes && any(busy); ++pass) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      for (Index j = 0; j < plan_.n; ++j) a[j] = select(busy, a[j] + c1_[j], a[j]);
      for (Index i = 0; i < plan_.m; ++i) y[i] = select(busy, y[i] + c2_[i], y[i]);
      const V before = residual;
      residual = residuals();
      busy &= (residual > roundoff * norm) & (residual < 0.5 * before);
    }
    return residual;
  }

  // t = r - K_E (a, y); returns its largest entry.
  V residuals() {
    program.products(a, y, t1_, t2_, Aty_);
    for (Index j = 0; j < plan_.n; ++j) t1_[j] = r1[j] - (t1_[j] + Aty_[j]);
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], r2[i] - t2_[i], V{});
    const V size = largest(t1_, t2_);
    return select(finite(size), size, splat<V>(__builtin_inf()));
  }

  static constexpr double small_regularization = 1e-9;
  static constexpr double probe_regularization = 1e-7;
  static constexpr double tie = 1e-8;
  static constexpr double roundoff = 1e-15;
  static constexpr double settled = 1e-11;     // residuals that need no second attempt
  static constexpr double consistent = 1e-6;   // residuals that a solution may have
  static constexpr int passes = 20;
  static constexpr int projections = 40;

  const Plan& plan_;
  // The refinement contracts by δ/(δ + σ²), without P by δ²/(δ² + σ²), σ the singular values of the active rows, while rounding is
  // amplified by 1/δ². Linear programs can afford the larger one.
  const double regularization_;
  Scaling<V> scaling_;
  Kkt<V> kkt_;
  V *t1_, *Aty_, *c1_, *t2_, *c2_, *w1_, *v1_, *w2_, *v2_;
  M* active_;
  M valid_{}, singular_{};
};

}  // namespace cvxl::CVXL_ISA
