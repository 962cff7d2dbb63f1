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
// K_E may be singular (dependent active rows, solutions that are not unique). It is factored with ±δ on the diagonal and the
// residual of K_E itself is refined: for a consistent system that converges to the minimum-norm solution, because the null space
// of K_E is a product N_x × N_z that δ diag(I, -I) maps to itself. For an inconsistent one the residual stays; the instance is
// then flagged and gets the damped solution at a larger δ.

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
        x(arena.take<V>(plan.n)),
        z(arena.take<V>(plan.m)),
        s(arena.take<V>(plan.m)),
        a(arena.take<V>(plan.n)),
        y(arena.take<V>(plan.m)),
        r1(arena.take<V>(plan.n)),
        r2(arena.take<V>(plan.m)),
        plan_(plan),
        kkt_(plan, arena),
        t1_(arena.take<V>(plan.n)),
        Aty_(arena.take<V>(plan.n)),
        c1_(arena.take<V>(plan.n)),
        t2_(arena.take<V>(plan.m)),
        c2_(arena.take<V>(plan.m)),
        active_(arena.take<M>(plan.m)) {}

  // Factors K_E at the tape of the valid lanes. Lanes with s = z = 0 in some row have no derivative; they are flagged, and the row
  // counts as active.
  void linearize(M valid) {
    valid_ = valid;
    degenerate = M{};
    scale_ = V{};
    for (Index k = 0; k < plan_.P.nnz(); ++k) scale_ = max(scale_, abs(program.P[k]));
    for (Index k = 0; k < plan_.A.nnz(); ++k) scale_ = max(scale_, abs(program.A[k]));
    scale_ = select(scale_ > 0.0, scale_, splat<V>(1.0));
    for (Index i = 0; i < plan_.m; ++i) {
      active_[i] = i < plan_.zero ? ~M{} : s[i] <= z[i];
      if (i >= plan_.zero) degenerate |= max(s[i], z[i]) < tie;
    }
    factorize(splat<V>(regularization) * scale_);
  }

  // (a, y) from (r1, r2); r2 counts on active rows only.
  void solve() {
    kkt_.solve(program.A, r1, r2, a, y);
    V norm = V{};
    for (Index j = 0; j < plan_.n; ++j) norm = max(norm, abs(r1[j]));
    for (Index i = 0; i < plan_.m; ++i) norm = max(norm, select(active_[i], abs(r2[i]), V{}));
    V residual = residuals();
    M busy = valid_ & (residual > roundoff * norm);
    for (int pass = 0; pass < passes && any(busy); ++pass) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      for (Index j = 0; j < plan_.n; ++j) a[j] = select(busy, a[j] + c1_[j], a[j]);
      for (Index i = 0; i < plan_.m; ++i) y[i] = select(busy, y[i] + c2_[i], y[i]);
      const V before = residual;
      residual = residuals();
      busy &= (residual > roundoff * norm) & (residual < 0.5 * before);
    }
    const M inconsistent = valid_ & ~(residual <= consistent * norm);
    if (any(inconsistent)) damp(inconsistent);
  }

 private:
  void factorize(V delta) {
    delta_ = delta;
    const V one = splat<V>(1.0);
    for (Index i = 0; i < plan_.m; ++i) {
      kkt_.e[i] = select(active_[i], one, V{});
      kkt_.delta[i] = select(active_[i], delta, one);
    }
    kkt_.factorize(program.P, program.A, delta);
  }

  // t = r - K_E (a, y); returns its largest entry.
  V residuals() {
    program.products(a, y, t1_, t2_, Aty_);
    V largest = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      t1_[j] = r1[j] - (t1_[j] + Aty_[j]);
      largest = max(largest, abs(t1_[j]));
    }
    for (Index i = 0; i < plan_.m; ++i) {
      t2_[i] = select(active_[i], r2[i] - t2_[i], V{});
      largest = max(largest, abs(t2_[i]));
    }
    return select(largest >= 0.0, largest, splat<V>(__builtin_inf()));
  }

  // Levenberg-Marquardt answer for the lanes; the factorization of the others is restored.
  void damp(M lanes) {
    degenerate |= lanes;
    const V delta = delta_;
    factorize(select(lanes, damping * scale_, delta));
    kkt_.solve(program.A, r1, r2, c1_, c2_);
    for (Index j = 0; j < plan_.n; ++j) a[j] = select(lanes, c1_[j], a[j]);
    for (Index i = 0; i < plan_.m; ++i) y[i] = select(lanes, c2_[i], y[i]);
    factorize(delta);
  }

  static constexpr double regularization = 1e-8;
  static constexpr double damping = 1e-4;
  static constexpr double tie = 1e-8;
  static constexpr double roundoff = 1e-15;
  static constexpr double consistent = 1e-6;
  static constexpr int passes = 12;

  const Plan& plan_;
  Kkt<V> kkt_;
  V *t1_, *Aty_, *c1_, *t2_, *c2_;
  M* active_;
  M valid_{};
  V scale_{}, delta_{};
};

}  // namespace cvxl::CVXL_ISA
