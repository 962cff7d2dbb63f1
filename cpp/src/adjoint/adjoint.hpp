#pragma once
// Implicit derivatives of a solution, W instances at a time.
//
// At a solution the map from data to (x, z) is differentiated through w = s - z, s = Π(w): with D = DΠ(w), E = (I - D)^(1/2) and
// dz = E ζ the linearized optimality conditions are
//
//     K_E (dx, ζ) = -(dP x + dq + dA'z,  E (dA x - db)),      K_E = [P, A'E; E A, -D],
//
// symmetric and bounded. For zero and nonnegative cones E is 1 on equalities and active rows (s ≤ z) and 0 elsewhere, so every
// active set has the same sparsity. On the central path, s z = μ, the same equations hold with D = s/(s + z). Since K_E is
// symmetric, the adjoint solves with the same matrix: K_E (a, ·) = (x̄, E z̄), y = E ·,
//
//     q̄ = -a,   b̄ = y,   Ā_ij = -(z_i a_j + y_i x_j),   P̄_ij = -(a_i x_j + a_j x_i)   (off-diagonal, stored once),   P̄_ii = -a_i x_i.
//
// What is applied is one symmetric operator that depends on K_E alone, so that VJP and JVP are adjoint to each other whatever the
// right-hand sides. With J = diag(I, -I) the matrix S = (K_E + δ J)⁻¹ always exists, and refinement by the residual of K_E itself
// multiplies an error by δ J S. That map is nearly 0 on what K_E determines well and the identity on the null space of K_E, which
// is a product N_x × N_z. Its powers, applied to a pseudo-random vector, tell three kinds of lanes apart:
//
//   regular    the vector vanishes at once: a few refinements reach K_E⁻¹ to rounding
//   ill        it vanishes with a smaller δ: K_E⁻¹ again, with residuals in twice the precision
//   singular   it does not vanish: a null space, or singular values beyond the precision. Π = (δ J S)^k is the projection on it, and
//
//                  (I - Π') (S + S δJS + … + S (δJS)^m) (I - Π)
//
//              tends to the pseudoinverse: it gives the minimum-norm least-squares solution, and damps what lies between rank and
//              null space. Applying S exactly up to rounding keeps it symmetric. Where (I - Π) removes something, the instance is flagged.
//
// Everything is solved in equilibrated units (kkt/equilibrate.hpp) where the data are scaled badly, and "norm" means the norm there.

#include "adjoint/compensated.hpp"
#include "cones/cones.hpp"
#include "kkt/equilibrate.hpp"
#include "kkt/factor.hpp"

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
        kkt_(plan, arena),
        cones_(plan, arena) {
    for (V** v : {&x, &a, &r1, &t1_, &l1_, &c1_, &w1_, &v1_}) *v = arena.take<V>(plan.n);
    for (V** v : {&z, &s, &y, &r2, &t2_, &l2_, &c2_, &w2_, &v2_, &H_, &weight_, &g_}) *v = arena.take<V>(plan.m);
    active_ = arena.take<M>(plan.m);
  }

  // Factors K_E at the tape of the valid lanes: of a solution, or (`smoothed`, which needs q and b) of a point of the central path. Lanes
  // whose solution lies where Π has no derivative, for example with s = z = 0 in some row, are flagged; so are points off the path. Rows
  // of cone blocks are in the blocks' frames (cones/rotation.hpp), in which D is diagonal too.
  void linearize(M valid, bool smoothed) {
    valid_ = valid;
    smoothed_ = smoothed;
    degenerate = M{};
    scaling_.scale_matrices(program, ~M{}, true);
    const V one = splat<V>(1.0);
    for (Index i = 0; i < plan_.m; ++i) {
      t2_[i] = scaling_.E[i] * s[i];
      l2_[i] = scaling_.c * scaling_.E_inverse[i] * z[i];
    }
    if (smoothed) {
      cones_.scale(t2_, l2_, V{}, ~M{});
      degenerate = valid & strayed();
      for (Index i = 0; i < plan_.m; ++i) {
        active_[i] = ~M{};
        H_[i] = select(valid, cones_.h[i], one);
        weight_[i] = 1.0 + H_[i];
      }
    } else {
      degenerate = valid & cones_.differentiate(t2_, l2_, tie, ~M{});
      for (Index i = 0; i < plan_.m; ++i) {
        const V d = cones_.h[i];
        active_[i] = d < 1.0 - 1e-13;
        weight_[i] = select(active_[i], 1.0 / (1.0 - d), one);
        H_[i] = select(active_[i], d * weight_[i], V{});
      }
    }
    cones_.rotate_in_place(program.A);
    classify();
  }

  // (a, y) = the operator on (r1, r2); r2 counts on active rows only. Overwrites r1, r2. `kept`, m long, receives what second
  // derivatives need of this solve, in equilibrated units and in the frames: y on the central path, and at a solution v = y + A a - r2,
  // of which y = (I - D) v and A a - r2 = D v.
  void solve(V* kept = nullptr) {
    V norm = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      r1[j] *= scaling_.c * scaling_.D[j];
      norm = max(norm, abs(r1[j]));
      a[j] = V{};
    }
    cones_.forward(r2);  // a block has one scaling, so that rotation and scaling commute
    for (Index i = 0; i < plan_.m; ++i) {
      r2[i] *= scaling_.E[i];
      if (kept) kept[i] = smoothed_ ? V{} : -r2[i];
      r2[i] = select(active_[i], r2[i], V{});
      norm = max(norm, abs(r2[i]));
      y[i] = V{};
    }
    if (const M lanes = valid_ & ~ill_ & ~singular_; any(lanes)) refine(norm, lanes, [&] { return residual(); });
    if (any(ill_)) refine(norm, ill_, [&] { return exact_residual(); });
    if (any(singular_)) pseudosolve(norm, singular_);
    if (kept) {
      if (!smoothed_) program.products(a, y, t1_, t2_, l1_);
      for (Index i = 0; i < plan_.m; ++i) kept[i] += smoothed_ ? y[i] : y[i] + t2_[i];
    }
    for (Index j = 0; j < plan_.n; ++j) a[j] *= scaling_.D[j];
    to_user_units(y);
  }

  // Of a second derivative, from what was kept of the solves for the tangent of the solution and for (a, y): (r1, r2) gets what the
  // moving matrix adds. On the central path, where s = -μ∇f*(z), that is Ḣ y = μ∇³f*(z)[ż, y] to r2. At a solution y = (I - D) v and
  // A a - r2 = D v move by g = Ḋ v = D²Π(w)[ẇ, v]: the solve is for ẏ + g, of which `drop_curvature` leaves ẏ. The tangent of w = s - z
  // is what was kept of its solve, with a minus.
  void add_curvature(const V* tangent, const V* pulled) {
    for (Index i = 0; i < plan_.m; ++i) {
      w2_[i] = scaling_.E[i] * s[i];
      v2_[i] = scaling_.c * scaling_.E_inverse[i] * z[i];
      if (!smoothed_) w2_[i] -= v2_[i];
      l2_[i] = smoothed_ ? tangent[i] : -tangent[i];
    }
    cones_.forward(w2_);
    cones_.forward(v2_);
    smoothed_ ? cones_.bend_barrier(w2_, v2_, l2_, pulled, g_) : cones_.bend_projection(w2_, l2_, pulled, g_);
    for (Index j = 0; j < plan_.n; ++j) c1_[j] = V{};
    program.products(c1_, g_, t1_, t2_, l1_);
    if (!smoothed_)
      for (Index j = 0; j < plan_.n; ++j) r1[j] += l1_[j] / (scaling_.c * scaling_.D[j]);
    cones_.back(g_);
    for (Index i = 0; i < plan_.m; ++i) r2[i] += scaling_.E_inverse[i] * g_[i];
  }
  void drop_curvature() {
    if (!smoothed_)
      for (Index i = 0; i < plan_.m; ++i) y[i] -= scaling_.E[i] / scaling_.c * g_[i];
  }

 private:
  // Lanes where (x, z), scaled, solves Px + q + A'z = 0, b - Ax = -μ∇f*(z) for no μ. Rows of cones are measured in the norm of the barrier,
  // by which small slacks count as much as large ones: programs without a point inside the cones have no central path, only near ones.
  M strayed() {
    for (Index j = 0; j < plan_.n; ++j) a[j] = scaling_.D_inverse[j] * x[j];
    program.products(a, l2_, t1_, w2_, l1_);
    V residual = V{}, size = splat<V>(1.0), gap = V{}, distance2 = V{};
    for (Index j = 0; j < plan_.n; ++j) {
      residual = max(residual, abs(t1_[j] + scaling_.c * scaling_.D[j] * program.q[j] + l1_[j]));
      size = max(size, abs(l1_[j]));
    }
    for (Index i = 0; i < plan_.m; ++i) {
      gap += t2_[i] * l2_[i];
      y[i] = c2_[i] = V{};
    }
    const V mu = gap / std::max(cones_.degree(), 1.0);
    cones_.complement(t2_, l2_, y, c2_, V{}, mu, v2_);
    for (Index i = 0; i < plan_.m; ++i) w2_[i] = v2_[i] - (w2_[i] + t2_[i] - scaling_.E[i] * program.b[i]);
    for (Index i = 0; i < plan_.zero; ++i) residual = max(residual, abs(w2_[i]));
    cones_.forward(w2_);
    for (Index i = plan_.zero; i < plan_.m; ++i) distance2 += w2_[i] * w2_[i] / (cones_.h[i] * mu);
    return ~((residual <= path_tolerance * size) & (distance2 <= path_tolerance * path_tolerance));
  }

  void factorize(V delta) {
    delta_ = delta;
    for (Index i = 0; i < plan_.m; ++i) {
      const V e2 = 1.0 / weight_[i];
      kkt_.e[i] = select(active_[i], sqrt(e2), V{});
      kkt_.delta[i] = select(active_[i], H_[i] * e2 + delta, splat<V>(1.0));
    }
    kkt_.factorize(program.P, program.A, delta);
  }

  // A dual vector out of the frames and the equilibrated units.
  void to_user_units(V* v) const {
    const V c_inverse = 1.0 / scaling_.c;
    for (Index i = 0; i < plan_.m; ++i) v[i] *= scaling_.E[i] * c_inverse;
    cones_.back(v);
  }

  void classify() {
    const V delta = splat<V>(regularization_);
    ill_ = singular_ = M{};
    factorize(delta);
    const M suspect = persists(valid_, 4);
    if (!any(suspect)) return;
    factorize(select(suspect, splat<V>(small_regularization), delta));
    singular_ = persists(suspect, 8);
    ill_ = suspect & ~singular_;
  }

  // The lanes in which a pseudo-random vector survives so many applications of δ J S.
  M persists(M lanes, int applications) {
    std::uint64_t state = 1;
    const auto next = [&] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return splat<V>(static_cast<double>(state >> 11) * 0x1p-52 - 1.0);  // uniform in [-1, 1)
    };
    for (Index j = 0; j < plan_.n; ++j) t1_[j] = next();
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], next(), V{});
    for (int k = 0; k < applications && any(lanes); ++k) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      set_scaled_solution(t1_, t2_);
      lanes &= ~(largest(t1_, t2_) < vanished);
    }
    return lanes;
  }

  // (u, v) = δ J (c1_, c2_), as a right-hand side.
  void set_scaled_solution(V* u, V* v) {
    for (Index j = 0; j < plan_.n; ++j) u[j] = delta_ * c1_[j];
    for (Index i = 0; i < plan_.m; ++i) v[i] = select(active_[i], -delta_ * weight_[i] * c2_[i], V{});
  }

  // Solves in the given lanes, from zero, refining until the residual no longer shrinks.
  template <class Residual>
  void refine(V norm, M lanes, Residual&& form_residual) {
    V before = form_residual();
    for (int pass = 0; pass < passes && any(lanes); ++pass) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      add(a, c1_, y, c2_, lanes);
      const V now = form_residual();
      lanes &= (now > roundoff * norm) & (now < 0.5 * before);
      before = now;
    }
  }

  // t = r - K_E (a, y); returns its largest entry.
  V residual() {
    program.products(a, y, t1_, t2_, l1_);
    for (Index j = 0; j < plan_.n; ++j) t1_[j] = r1[j] - (t1_[j] + l1_[j]);
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], r2[i] - (t2_[i] - H_[i] * y[i]), V{});
    return largest(t1_, t2_);
  }

  // The same, computed in twice the precision and then rounded.
  V exact_residual() {
    residual_in_twice_the_precision(r1, r2, a, y, V{}, t1_, t2_);
    return largest(t1_, t2_);
  }

  // (u, v) = (p, q) - (K_E + δ J) (g, h)
  void residual_in_twice_the_precision(const V* p, const V* q, const V* g, const V* h, V delta, V* u, V* v) {
    subtract_products(program, p, q, g, h, u, v, l1_, l2_);
    for (Index j = 0; j < plan_.n; ++j) {
      add_product(u[j], l1_[j], -delta, g[j]);
      u[j] += l1_[j];
    }
    for (Index i = 0; i < plan_.m; ++i) {
      add_product(v[i], l2_[i], H_[i], h[i]);
      add_product(v[i], l2_[i], delta * weight_[i], h[i]);
      v[i] = select(active_[i], v[i] + l2_[i], V{});
    }
  }

  // c = S (p, q), to rounding.
  void solve_exactly(const V* p, const V* q, M lanes) {
    kkt_.solve(program.A, p, q, c1_, c2_);
    for (int pass = 0; pass < corrections && any(lanes); ++pass) {
      residual_in_twice_the_precision(p, q, c1_, c2_, delta_, w1_, w2_);
      kkt_.solve(program.A, w1_, w2_, v1_, v2_);
      add(c1_, v1_, c2_, v2_, lanes);
      lanes &= largest(v1_, v2_) > 0.1 * roundoff * largest(c1_, c2_);
    }
  }

  // (a, y) of singular lanes; overwrites r.
  void pseudosolve(V norm, M lanes) {
    std::copy(r1, r1 + plan_.n, t1_);
    std::copy(r2, r2 + plan_.m, t2_);
    project_on_null_space(lanes);
    degenerate |= lanes & (largest(t1_, t2_) > consistent * norm);
    for (Index j = 0; j < plan_.n; ++j) r1[j] -= select(lanes, t1_[j], V{});
    for (Index i = 0; i < plan_.m; ++i) r2[i] -= select(lanes, t2_[i], V{});
    M busy = lanes;
    for (int pass = 0; pass < passes && any(busy); ++pass) {
      busy &= exact_residual() > 1e-3 * roundoff * norm;  // later than rounding asks: the end depends on r, the operator must not
      solve_exactly(t1_, t2_, busy);
      add(a, c1_, y, c2_, busy);
    }
    // Π' = J Π J
    std::copy(a, a + plan_.n, t1_);
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], -weight_[i] * y[i], V{});
    project_on_null_space(lanes);
    for (Index j = 0; j < plan_.n; ++j) a[j] -= select(lanes, t1_[j], V{});
    for (Index i = 0; i < plan_.m; ++i) y[i] += select(lanes, t2_[i] / weight_[i], V{});
  }

  // t ← (δ J S)^k t; k is fixed, but what has stopped changing is left alone.
  void project_on_null_space(M lanes) {
    const V unchanged = roundoff * largest(t1_, t2_);
    for (int k = 0; k < projections && any(lanes); ++k) {
      solve_exactly(t1_, t2_, lanes);
      set_scaled_solution(w1_, w2_);
      V change = V{};
      for (Index j = 0; j < plan_.n; ++j) change = max(change, abs(w1_[j] - t1_[j]));
      for (Index i = 0; i < plan_.m; ++i) change = max(change, abs(w2_[i] - t2_[i]));
      for (Index j = 0; j < plan_.n; ++j) t1_[j] = select(lanes, w1_[j], t1_[j]);
      for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(lanes, w2_[i], t2_[i]);
      lanes &= change > unchanged;
    }
  }

  // (u, v) += (p, q) in the given lanes.
  void add(V* u, const V* p, V* v, const V* q, M lanes) {
    for (Index j = 0; j < plan_.n; ++j) u[j] = select(lanes, u[j] + p[j], u[j]);
    for (Index i = 0; i < plan_.m; ++i) v[i] = select(lanes, v[i] + q[i], v[i]);
  }

  V largest(const V* p, const V* q) const {
    V size = V{};
    for (Index j = 0; j < plan_.n; ++j) size = max(size, abs(p[j]));
    for (Index i = 0; i < plan_.m; ++i) size = max(size, abs(q[i]));
    return size;
  }

  static constexpr double small_regularization = 1e-6;
  static constexpr double vanished = 1e-6;    // of a pseudo-random vector of size 1
  static constexpr double tie = 1e-8;
  static constexpr double roundoff = 1e-15;
  static constexpr double path_tolerance = 1e-6;
  static constexpr double consistent = 1e-6;  // what may be removed from a right-hand side without a flag
  static constexpr int passes = 20;
  static constexpr int corrections = 5;
  static constexpr int projections = 40;

  const Plan& plan_;
  // Refinement contracts by δ/(δ + σ²), without P by δ²/(δ² + σ²), σ the singular values of the active rows, while rounding is
  // amplified by 1/δ². Linear programs can afford the larger one.
  const double regularization_;
  V delta_{};                       // of each lane
  Scaling<V> scaling_;
  Kkt<V> kkt_;
  Cones<V> cones_;
  V *H_, *weight_;                  // per active row: D/(1 - D) and 1/(1 - D)
  M* active_;                       // per row: D < 1
  V* g_;                            // of `add_curvature`
  V *t1_, *t2_, *l1_, *l2_, *c1_, *c2_, *w1_, *w2_, *v1_, *v2_;
  M valid_{}, ill_{}, singular_{};
  bool smoothed_ = false;
};

}  // namespace cvxl::CVXL_ISA
