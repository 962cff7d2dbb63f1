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
//     q̄ = -a,   b̄ = y,   Ā_ij = -(z_i a_j + y_i x_j),   P̄_ii = -a_i x_i,   P̄_ij = -(a_i x_j + a_j x_i)   (stored once).
//
// What is applied is one symmetric operator that depends on K_E alone, so that VJP and JVP are adjoint to each other whatever the
// right-hand sides. With J = diag(I, -I) the matrix S = (K_E + δ J)⁻¹ always exists, and refinement by the residual of K_E itself
// multiplies an error by δ J S. That map is nearly 0 on what K_E determines well. Its powers, applied to a pseudo-random vector,
// tell two kinds of lanes apart:
//
//   regular    the vector vanishes at once: K_E⁻¹ is bounded by 1/(80 δ), and a few refinements reach it (regular_lanes.hpp)
//   doubtful   it does not vanish: K_E is singular, or was only made to look so by δ. These instances are eliminated one by one,
//              with pivots (doubtful_lanes.hpp), where rank is decided by rounding and not by δ, and choices are told apart.
//
// Everything is solved in equilibrated units (kkt/equilibration.hpp) where the data are scaled badly; norms are meant in them.

#include "adjoint/doubtful_lanes.hpp"
#include "adjoint/noise.hpp"
#include "adjoint/path.hpp"
#include "adjoint/regular_lanes.hpp"
#include "cones/cones.hpp"
#include "kkt/equilibration.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Adjoint {
 public:
  using M = MaskOf<V>;

  ProgramPack<V> program;
  V *x, *z, *s;    // the tape
  V *a, *y;        // solution of the last solve
  V *r1, *r2;      // its right-hand side
  M degenerate{};  // lanes flagged so far
  M leans{};       // lanes in which y of the last solve depends on the choice of multipliers

  CVXL_HD Adjoint(const PlanView& plan, Arena& arena)
      : program(plan, arena),
        plan_(plan),
        scaling_(plan, arena, 32.0),
        cones_(plan, arena),
        rows_(plan, arena),
        room_(plan, arena),
        regular_(plan, program, cones_, rows_, room_, arena),
        alone_(plan, program, cones_, rows_, arena) {
    for (V** v : {&x, &a, &r1}) *v = arena.take<V>(plan.n);
    for (V** v : {&z, &s, &y, &r2, &l2_, &g_}) *v = arena.take<V>(plan.m);
  }
  Adjoint(const Adjoint&) = delete;  // its parts know each other

  // Factors K_E at the tape of the valid lanes: of a solution, or (`smoothed`) of a point of the central path. `load_vectors` fills
  // q and b where they are needed. Lanes whose solution lies where Π has no derivative, for example with s = z = 0 in some row, are
  // flagged; so are points off the path. Rows of cone blocks are in the blocks' frames (cones/rotation.hpp), in which D is diagonal
  // too.
  template <class LoadVectors>
  CVXL_SEAM void linearize(M valid, bool smoothed, LoadVectors&& load_vectors) {
    valid_ = valid;
    smoothed_ = smoothed;
    degenerate = kinked_ = M{};
    into_units();
    smoothed ? linearize_path(load_vectors) : linearize_solution(load_vectors);
    cones_.rotate_in_place(program.A);
    cones_.forward(rows_.s);
    cones_.forward(rows_.z);
    classify();
  }

  // (a, y) = the operator on (r1, r2); r2 counts on active rows only. Overwrites r1, r2. `kept`, m long, receives what second
  // derivatives need of this solve, in equilibrated units and in the frames: y on the central path, and at a solution
  // v = y + A a - r2, of which y = (I - D) v and A a - r2 = D v.
  CVXL_SEAM void solve(V* kept = nullptr) {
    cones_.check_frames();
    V norm = V{};
    each<V>(plan_.n, maxima(norm), [&](Index j) {
      r1[j] *= scaling_.c * scaling_.D[j];
      norm = max(norm, abs(r1[j]));
      a[j] = V{};
    });
    cones_.forward(r2);  // a block has one scaling, so that rotation and scaling commute
    each<V>(plan_.m, maxima(norm), [&](Index i) {
      r2[i] *= scaling_.E[i];
      if (kept) kept[i] = smoothed_ ? V{} : -r2[i];
      r2[i] = select(rows_.active[i], r2[i], V{});
      norm = max(norm, abs(r2[i]));
      y[i] = V{};
    });
    if (const M lanes = valid_ & ~doubtful_; any(lanes)) regular_.refine(a, y, r1, r2, roundoff * norm * smallest_part_, lanes);
    leans = M{};
    if constexpr (Team<V>::alone)
      for (int lane = 0; lane < lanes_of<V>; ++lane)
        if (doubtful_[lane]) solve_alone(lane);
    if (kept) {
      if (!smoothed_) cones_.products(program, a, y, room_.t1, room_.t2, room_.l1);
      each<V>(plan_.m, [&](Index i) { kept[i] += smoothed_ ? y[i] : y[i] + room_.t2[i]; });
    }
    out_of_units();
  }

  // f(group of lanes) for lanes in which (a, y) may not be determined: the matrix is singular, or a row is at a kink. What is asked
  // of lanes below costs least within a group.
  template <class F>
  CVXL_HD void for_each_doubtful_group(F&& f) const {
    if (any(doubtful_)) alone_.for_each_group(doubtful_, f);
  }

  // Into (a, y): the k-th direction in which a, or then y, is not determined, in the user's units; zero in lanes that have no such,
  // and in those where it concerns equalities alone. Returns the lanes that have one.
  CVXL_HD M flat_direction(Index k, M among) {
    return undetermined(among, [&](Elimination& alone, int) {
      if (k < alone.flat_directions()) std::copy_n(alone.flat_direction(k), plan_.n, alone.r1);
      return k < alone.flat_directions();
    });
  }
  CVXL_HD M choice(Index k, M among) {
    return undetermined(among, [&](Elimination& alone, int) {
      if (k < alone.choices() && !alone.choice(k, alone.r2)) std::fill(alone.r2, alone.r2 + plan_.m, 0.0);
      return k < alone.choices();
    });
  }
  // Into (a, y): what moves the slack of row i, which is at a kink in the lanes returned; `noise` gets what it may be off by.
  CVXL_HD M kink(Index i, V& noise, M among) {
    const M lanes = among & kinked_ & rows_.tied[i];
    if (!any(lanes)) return lanes;
    return undetermined(lanes, [&](Elimination& alone, int lane) {
      noise[lane] = alone_.error(lane, i) / scaling_.c[lane];
      alone.r2[i] += 1.0;
      return true;
    });
  }
  // Puts rows at a kink that were left out back among the active ones: the choice that is made where it matters.
  CVXL_HD void count_kinks_as_active(M lanes) {
    for (Index i = plan_.zero; i < plan_.m; ++i)
      for (int lane = 0; lane < lanes_of<V>; ++lane)
        if (lanes[lane] & kinked_[lane] & rows_.tied[i][lane]) alone_.count_as_active(i, lane);
  }
  // Lanes that can move within their active rows.
  CVXL_HD M movable(M among) {
    M lanes{};
    for (int lane = 0; lane < lanes_of<V>; ++lane)
      if (among[lane] && alone_[lane].free_directions() > 0) lanes[lane] = -1;
    return lanes;
  }

  // Of a second derivative, from what was kept of the solves for the tangent of the solution and for (a, y): (r1, r2) gets what the
  // moving matrix adds. On the central path, where s = -μ∇f*(z), that is Ḣ y = μ∇³f*(z)[ż, y] to r2. At a solution y = (I - D) v
  // and A a - r2 = D v move by g = Ḋ v = D²Π(w)[ẇ, v]. Where rows are active that is (I - D)⁻¹g to r2: ẏ may be far smaller than g.
  // In the others, of which D is 1, ẏ = -g is known: they add to r1 and `drop_curvature` has the rest. The tangent of w = s - z is
  // what was kept of its solve, with a minus.
  CVXL_HD void add_curvature(const V* tangent, const V* pulled) {
    each<V>(plan_.m, [&](Index i) {
      // In the frames each coordinate of w = s - z belongs to one of them; the other's is rounding, beside which it may be small.
      room_.c2[i] = select(abs(rows_.s[i]) > abs(rows_.z[i]), rows_.s[i], -rows_.z[i]);
      l2_[i] = smoothed_ ? tangent[i] : -tangent[i];
    });
    smoothed_ ? cones_.barrier_third_derivative(rows_.s, rows_.z, l2_, pulled, g_)
              : cones_.projection_second_derivative(room_.c2, l2_, pulled, g_);
    if (!smoothed_) {
      each<V>(plan_.m, [&](Index i) {
        l2_[i] = select(rows_.active[i], rows_.weight[i] * g_[i], V{});
        g_[i] = select(rows_.active[i], V{}, g_[i]);
      });
      each<V>(plan_.n, [&](Index j) { room_.c1[j] = V{}; });
      cones_.products(program, room_.c1, g_, room_.t1, room_.t2, room_.l1);
      each<V>(plan_.n, [&](Index j) { r1[j] += room_.l1[j] / (scaling_.c * scaling_.D[j]); });
      cones_.back(g_);
    }
    V* const moved = smoothed_ ? g_ : l2_;
    cones_.back(moved);
    each<V>(plan_.m, [&](Index i) { r2[i] += scaling_.E_inverse[i] * moved[i]; });
  }
  CVXL_HD void drop_curvature() {
    if (!smoothed_) each<V>(plan_.m, [&](Index i) { y[i] -= scaling_.E[i] / scaling_.c * g_[i]; });
  }

 private:
  // The tape in equilibrated units and x in `a`.
  CVXL_SEAM void into_units() {
    scaling_.scale_matrices(program, ~M{}, true);
    each<V>(plan_.m, [&](Index i) {
      rows_.s[i] = scaling_.E[i] * s[i];
      rows_.z[i] = scaling_.c * scaling_.E_inverse[i] * z[i];
    });
    V least = scaling_.D[0], most = scaling_.D[0];
    each<V>(plan_.n, minima(least), maxima(most), [&](Index j) {
      a[j] = scaling_.D_inverse[j] * x[j];
      least = min(least, scaling_.D[j]);
      most = max(most, scaling_.D[j]);
    });
    smallest_part_ = min(scaling_.c, 1.0 / scaling_.c) * least / most;
  }

  template <class LoadVectors>
  CVXL_HD void linearize_path(LoadVectors&& load_vectors) {
    load_vectors();
    cones_.scale(rows_.s, rows_.z, V{}, ~M{}, ~M{}, Frames::orthonormal);
    if constexpr (Team<V>::alone)  // teams know solutions alone
      degenerate = valid_ & strays_from_path(program, scaling_, cones_, rows_, a, room_, y, l2_);
    each<V>(plan_.m, [&](Index i) {
      rows_.active[i] = ~M{};
      rows_.H[i] = select(valid_, cones_.h[i], splat<V>(1.0));
      rows_.weight[i] = 1.0 + rows_.H[i];
    });
  }

  template <class LoadVectors>
  CVXL_SEAM void linearize_solution(LoadVectors&& load_vectors) {
    degenerate = valid_ & cones_.unclear(rows_.s, rows_.z);
    // Few points are near a kink, and only for them is it worth while to measure how near.
    const V near = most_noise(plan_, a, rows_.s, rows_.z);
    const auto differentiate = [&](auto&& noise) {
      kinked_ = valid_ & cones_.differentiate(rows_.s, rows_.z, noise, [&](Index i, M at) { rows_.tied[i] = valid_ & at; }, ~M{});
    };
    fill<V>(rows_.tied, plan_.m, M{});
    differentiate([&](Index) { return Noise<V>{near, near}; });
    if (any(kinked_)) {
      load_vectors();
      const Uncertainty<V>& off = alone_.uncertainty;
      measure_noise(program, scaling_, Point<V>{a, rows_.z, rows_.s}, Scratch<V>{room_.t1, room_.c1, room_.l1, y}, off);
      differentiate([&](Index i) { return Noise<V>{off.slacks[i], off.multipliers[i]}; });
    }
    each<V>(plan_.m, [&](Index i) {
      rows_.active[i] = cones_.rest[i] > alone_.least_rest;
      rows_.weight[i] = select(rows_.active[i], 1.0 / cones_.rest[i], splat<V>(1.0));
      rows_.H[i] = select(rows_.active[i], cones_.h[i] * rows_.weight[i], V{});
    });
  }

  // (a, y) out of the equilibrated units and the frames.
  CVXL_SEAM void out_of_units() {
    const V c_inverse = 1.0 / scaling_.c;
    each<V>(plan_.n, [&](Index j) { a[j] *= scaling_.D[j]; });
    each<V>(plan_.m, [&](Index i) { y[i] *= scaling_.E[i] * c_inverse; });
    cones_.back(y);
  }

  CVXL_HD void classify() {
    regular_.factorize();
    doubtful_ = regular_.persists(valid_) | kinked_;
    alone_.reset();
    if (!alone_.has_room()) {
      degenerate |= doubtful_;
      doubtful_ = kinked_ = M{};
    }
    if constexpr (Team<V>::alone) kinked_ = alone_.settle_ties(kinked_, degenerate);
  }

  template <class Write>
  CVXL_HD M undetermined(M among, Write&& write) {
    M lanes{};
    for (Index j = 0; j < plan_.n; ++j) a[j] = V{};
    for (Index i = 0; i < plan_.m; ++i) y[i] = V{};
    for (int lane = 0; lane < lanes_of<V>; ++lane) {
      if (!among[lane]) continue;
      Elimination& own = alone_[lane];
      own.clear();
      if (!write(own, lane)) continue;
      lanes[lane] = -1;
      for (Index j = 0; j < plan_.n; ++j) a[j][lane] = own.r1[j];
      for (Index i = 0; i < plan_.m; ++i) y[i][lane] = own.r2[i];
    }
    if (any(lanes)) out_of_units();
    return lanes;
  }

  CVXL_HD void solve_alone(int lane) {
    Elimination& own = alone_[lane];
    for (Index j = 0; j < plan_.n; ++j) own.r1[j] = r1[j][lane];
    for (Index i = 0; i < plan_.m; ++i) own.r2[i] = r2[i][lane];
    if (!own.solve()) degenerate[lane] = -1;
    if (own.leans()) leans[lane] = -1;
    for (Index j = 0; j < plan_.n; ++j) a[j][lane] = own.r1[j];
    for (Index i = 0; i < plan_.m; ++i) y[i][lane] = own.r2[i];
  }

  static constexpr double roundoff = 1e-15;

  const PlanView& plan_;
  Equilibration<V> scaling_;
  Cones<V> cones_;
  ActiveRows<V> rows_;
  Room<V> room_;
  RegularLanes<V> regular_;
  DoubtfulLanes<V> alone_;
  V *l2_, *g_;  // of `add_curvature`
  V smallest_part_{};  // of (a, y), beside a right-hand side that c and D scale
  M valid_{}, doubtful_{}, kinked_{};
  bool smoothed_ = false;
};

}  // namespace cvxl::CVXL_ISA
