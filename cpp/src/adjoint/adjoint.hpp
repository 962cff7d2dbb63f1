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
// multiplies an error by δ J S. That map is nearly 0 on what K_E determines well. Its powers, applied to a pseudo-random vector, tell two
// kinds of lanes apart:
//
//   regular    the vector vanishes at once: K_E⁻¹ is bounded by 1/(80 δ), and a few refinements reach it to rounding
//   doubtful   it does not vanish: K_E is singular, or was only made to look so by δ. These instances are eliminated one by one, with
//              pivots (elimination.hpp), where rank is decided by rounding and not by δ, and the solution's choices are told apart.
//
// Everything is solved in equilibrated units (kkt/equilibrate.hpp) where the data are scaled badly, and "norm" means the norm there.

#include <new>

#include "adjoint/elimination.hpp"
#include "adjoint/noise.hpp"
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
  M leans{};       // lanes in which y of the last solve depends on the choice of multipliers

  Adjoint(const Plan& plan, Arena& arena)
      : program(plan, arena),
        plan_(plan),
        regularization_(plan.P.nnz() > 0 ? 1e-5 : 1e-4),
        scaling_(plan, arena, 32.0),
        kkt_(plan, arena),
        cones_(plan, arena),
        uncertainty_(plan, arena) {
    for (V** v : {&x, &a, &r1, &t1_, &l1_, &c1_}) *v = arena.take<V>(plan.n);
    for (V** v : {&z, &s, &y, &r2, &t2_, &l2_, &c2_, &w2_, &v2_, &H_, &weight_, &g_}) *v = arena.take<V>(plan.m);
    for (M** v : {&active_, &tied_}) *v = arena.take<M>(plan.m);
    Arena measured;
    const Elimination sized(plan, measured);
    const std::size_t bytes = measured.used();
    slots_ = bytes * lanes_of<V> <= room ? lanes_of<V> : bytes <= room ? 1 : 0;
    for (int slot = 0; slot < slots_; ++slot) elimination_[slot] = Elimination(plan, arena);
  }

  // Factors K_E at the tape of the valid lanes: of a solution, or (`smoothed`) of a point of the central path. `load_vectors` fills q and b
  // where they are needed. Lanes whose solution lies where Π has no derivative, for example with s = z = 0 in some row, are flagged; so are
  // points off the path. Rows of cone blocks are in the blocks' frames (cones/rotation.hpp), in which D is diagonal too.
  template <class LoadVectors>
  void linearize(M valid, bool smoothed, LoadVectors&& load_vectors) {
    valid_ = valid;
    smoothed_ = smoothed;
    degenerate = kinked_ = M{};
    scaling_.scale_matrices(program, ~M{}, true);
    const V one = splat<V>(1.0);
    for (Index i = 0; i < plan_.m; ++i) {
      t2_[i] = scaling_.E[i] * s[i];
      l2_[i] = scaling_.c * scaling_.E_inverse[i] * z[i];
    }
    for (Index j = 0; j < plan_.n; ++j) a[j] = scaling_.D_inverse[j] * x[j];
    if (smoothed) {
      load_vectors();
      cones_.scale(t2_, l2_, V{}, ~M{});
      degenerate = valid & strayed();
      for (Index i = 0; i < plan_.m; ++i) {
        active_[i] = ~M{};
        H_[i] = select(valid, cones_.h[i], one);
        weight_[i] = 1.0 + H_[i];
      }
    } else {
      // Few points are near a kink, and only for them is it worth while to measure how near.
      const V near = most_noise(plan_, a, t2_, l2_);
      const auto tie = [&](Index i, M lanes) {
        tied_[i] = valid & lanes;
        kinked_ |= tied_[i];
      };
      std::fill(tied_, tied_ + plan_.m, M{});
      degenerate = valid & cones_.differentiate(t2_, l2_, [&](Index) { return Noise<V>{near, near}; }, tie, ~M{});
      if (any(degenerate | kinked_)) {
        load_vectors();
        measure_noise(program, scaling_, Point<V>{a, l2_, t2_}, Scratch<V>{t1_, c1_, l1_, y}, uncertainty_);
        const auto noise = [&](Index i) { return Noise<V>{uncertainty_.slacks[i], uncertainty_.multipliers[i]}; };
        kinked_ = M{};
        degenerate = valid & cones_.differentiate(t2_, l2_, noise, tie, ~M{});
      }
      for (Index i = 0; i < plan_.m; ++i) {
        active_[i] = cones_.rest[i] > least_rest;
        weight_[i] = select(active_[i], 1.0 / cones_.rest[i], one);
        H_[i] = select(active_[i], cones_.h[i] * weight_[i], V{});
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
    if (const M lanes = valid_ & ~doubtful_; any(lanes)) refine(norm, lanes);
    leans = M{};
    for (int lane = 0; lane < lanes_of<V>; ++lane)
      if (doubtful_[lane]) solve_alone(lane);
    if (kept) {
      if (!smoothed_) program.products(a, y, t1_, t2_, l1_);
      for (Index i = 0; i < plan_.m; ++i) kept[i] += smoothed_ ? y[i] : y[i] + t2_[i];
    }
    out_of_units();
  }

  // Lanes in which (a, y) may not be determined: the matrix is singular, or a row is at a kink.
  M doubtful() const { return doubtful_; }

  // Into (a, y): the k-th direction in which a, or then y, is not determined, in the user's units; zero in lanes that have no such, and in
  // those where it concerns equalities alone. Returns the lanes that have one.
  M flat_direction(Index k) {
    return undetermined([&](Elimination& alone, int) {
      if (k < alone.flat_directions()) std::copy_n(alone.flat_direction(k), plan_.n, alone.r1);
      return k < alone.flat_directions();
    });
  }
  M choice(Index k) {
    return undetermined([&](Elimination& alone, int) {
      if (k < alone.choices() && !alone.choice(k, alone.r2)) std::fill(alone.r2, alone.r2 + plan_.m, 0.0);
      return k < alone.choices();
    });
  }
  // Into (a, y): what moves the slack of row i, which is at a kink in the lanes returned; `noise` gets what it may be off by.
  M kink(Index i, V& noise) {
    const M lanes = kinked_ & tied_[i];
    if (!any(lanes)) return lanes;
    return undetermined([&](Elimination& alone, int lane) {
      if (!lanes[lane]) return false;
      noise[lane] = error(lane, i) / scaling_.c[lane];
      alone.r2[i] += 1.0;
      return true;
    });
  }
  // Puts rows at a kink that were left out back among the active ones: the choice that is made where it matters.
  void count_kinks_as_active(M lanes) {
    for (Index i = plan_.zero; i < plan_.m; ++i)
      for (int lane = 0; lane < lanes_of<V>; ++lane)
        if (lanes[lane] & kinked_[lane] & tied_[i][lane]) set_active(i, lane, cones_.rest[i][lane] > least_rest);
  }
  // Lanes that can move within their active rows.
  M movable() {
    M lanes{};
    for (int lane = 0; lane < lanes_of<V>; ++lane)
      if (doubtful_[lane] && alone(lane).free_directions() > 0) lanes[lane] = -1;
    return lanes;
  }

  // Of a second derivative, from what was kept of the solves for the tangent of the solution and for (a, y): (r1, r2) gets what the
  // moving matrix adds. On the central path, where s = -μ∇f*(z), that is Ḣ y = μ∇³f*(z)[ż, y] to r2. At a solution y = (I - D) v and
  // A a - r2 = D v move by g = Ḋ v = D²Π(w)[ẇ, v]: the solve is for ẏ + g, of which `drop_curvature` leaves ẏ. The tangent of w = s - z
  // is what was kept of its solve, with a minus.
  void add_curvature(const V* tangent, const V* pulled) {
    in_frames();
    for (Index i = 0; i < plan_.m; ++i) {
      if (!smoothed_) w2_[i] -= v2_[i];
      l2_[i] = smoothed_ ? tangent[i] : -tangent[i];
    }
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
  // Lanes where (x, z), scaled and x in `a`, solves Px + q + A'z = 0, b - Ax = -μ∇f*(z) for no μ. Rows of cones are measured in the norm of the
  // barrier, by which small slacks count as much as large ones: programs without a point inside the cones have no central path, only near ones.
  M strayed() {
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

  void factorize() {
    for (Index i = 0; i < plan_.m; ++i) {
      const V e2 = 1.0 / weight_[i];
      kkt_.e[i] = select(active_[i], sqrt(e2), V{});
      kkt_.delta[i] = select(active_[i], H_[i] * e2 + regularization_, splat<V>(1.0));
    }
    kkt_.factorize(program.P, program.A, splat<V>(regularization_));
  }

  // (a, y) out of the equilibrated units and the frames.
  void out_of_units() {
    const V c_inverse = 1.0 / scaling_.c;
    for (Index j = 0; j < plan_.n; ++j) a[j] *= scaling_.D[j];
    for (Index i = 0; i < plan_.m; ++i) y[i] *= scaling_.E[i] * c_inverse;
    cones_.back(y);
  }

  void classify() {
    factorize();
    doubtful_ = persists(valid_) | kinked_;
    std::fill(held_, held_ + lanes_of<V>, -1);
    if (slots_ == 0) {
      degenerate |= doubtful_;
      doubtful_ = kinked_ = M{};
    }
    if (!any(kinked_)) return;
    count_complementarity();
    for (int lane = 0; lane < lanes_of<V>; ++lane)
      if (kinked_[lane]) settle_ties(lane);
  }

  // Since Π(w) = DΠ(w) w, what s is off Π(s - z) by is (1 - D) s + D z in the frames: an error of active rows, and of z in others.
  void count_complementarity() {
    in_frames();
    for (Index i = 0; i < plan_.m; ++i) {
      const V off = abs(cones_.rest[i] * w2_[i] + cones_.h[i] * v2_[i]);
      uncertainty_.rows[i] += select(active_[i], off * weight_[i], V{});
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k)
        uncertainty_.columns[plan_.A.indices[k]] += select(active_[i], V{}, abs(program.A[k]) * off);
    }
  }

  // Rows at which slack and multiplier are both small are looked at one by one: is the multiplier of an active one, or else the slack,
  // more than it can be off by? Where neither is, the row is left out, and is at a kink if anything moves its slack (`kink`). A number that
  // the system does not determine makes the lane degenerate, with its rows as they are.
  void settle_ties(int lane) {
    const auto each_tie = [&](auto&& f) {
      for (Index i = plan_.zero; i < plan_.m; ++i)
        if (tied_[i][lane]) f(i);
    };
    bool known = true;
    const auto vanishes = [&](Index i, double value) {
      const double off_by = error(lane, i);
      known &= std::isfinite(off_by);
      return std::abs(value) <= off_by;
    };
    each_tie([&](Index i) {
      if (active_[i][lane] && !vanishes(i, v2_[i][lane])) tied_[i][lane] = 0;
    });
    if (known) {
      each_tie([&](Index i) { set_active(i, lane, false); });
      each_tie([&](Index i) {
        if (!vanishes(i, w2_[i][lane])) tied_[i][lane] = 0;
      });
    }
    bool kink = false;
    each_tie([&](Index i) {
      if (!known) set_active(i, lane, cones_.rest[i][lane] > least_rest);
      kink |= known;
    });
    kinked_[lane] = kink ? -1 : 0;
    if (!known) degenerate[lane] = -1;
  }

  // Of a row in which D is 0 or 1.
  void set_active(Index i, int lane, bool active) {
    active_[i][lane] = active ? -1 : 0;
    H_[i][lane] = 0.0;
    weight_[i][lane] = 1.0;
    std::fill(held_, held_ + lanes_of<V>, -1);
  }

  // What the multiplier of row i, if it is active, or else its slack may be off by: an error of the optimality conditions is felt as a
  // change of the data would be, by the adjoint (a, y) of that number, which is left in the elimination. Infinite where it is not determined.
  double error(int lane, Index i) {
    Elimination& own = alone(lane);
    std::fill(own.r1, own.r1 + plan_.n, 0.0);
    std::fill(own.r2, own.r2 + plan_.m, 0.0);
    if (active_[i][lane])
      own.r2[i] = 1.0;
    else
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) own.r1[plan_.A.indices[k]] = -program.A[k][lane];
    if (!own.solve()) return HUGE_VAL;
    double sum = nothing + (active_[i][lane] ? 0.0 : uncertainty_.rows[i][lane]);
    for (Index j = 0; j < plan_.n; ++j) sum += std::abs(own.r1[j]) * uncertainty_.columns[j][lane];
    for (Index k = 0; k < plan_.m; ++k) sum += std::abs(own.r2[k]) * uncertainty_.rows[k][lane];
    return sum;
  }

  // (s, z) in equilibrated units and in the frames, into (w2, v2).
  void in_frames() {
    for (Index i = 0; i < plan_.m; ++i) {
      w2_[i] = scaling_.E[i] * s[i];
      v2_[i] = scaling_.c * scaling_.E_inverse[i] * z[i];
    }
    cones_.forward(w2_);
    cones_.forward(v2_);
  }

  // The elimination of a lane, factored: each has its own, or, where they would take too much memory, the latest has the only one.
  Elimination& alone(int lane) {
    const int slot = slots_ == 1 ? 0 : lane;
    if (held_[slot] != lane) eliminate(lane, elimination_[slot]);
    held_[slot] = lane;
    return elimination_[slot];
  }

  // The lanes in which a pseudo-random vector survives a few applications of δ J S.
  M persists(M lanes) {
    std::uint64_t state = 1;
    const auto next = [&] {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return splat<V>(static_cast<double>(state >> 11) * 0x1p-52 - 1.0);  // uniform in [-1, 1)
    };
    for (Index j = 0; j < plan_.n; ++j) t1_[j] = next();
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], next(), V{});
    for (int k = 0; k < applications && any(lanes); ++k) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      for (Index j = 0; j < plan_.n; ++j) t1_[j] = regularization_ * c1_[j];
      for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], -regularization_ * weight_[i] * c2_[i], V{});
      lanes &= ~(max(largest(t1_, plan_.n), largest(t2_, plan_.m)) < vanished);
    }
    return lanes;
  }

  template <class Write>
  M undetermined(Write&& write) {
    M lanes{};
    if (!any(doubtful_)) return lanes;
    for (Index j = 0; j < plan_.n; ++j) a[j] = V{};
    for (Index i = 0; i < plan_.m; ++i) y[i] = V{};
    for (int lane = 0; lane < lanes_of<V>; ++lane) {
      if (!doubtful_[lane]) continue;
      Elimination& own = alone(lane);
      std::fill(own.r1, own.r1 + plan_.n, 0.0);
      std::fill(own.r2, own.r2 + plan_.m, 0.0);
      if (!write(own, lane)) continue;
      lanes[lane] = -1;
      for (Index j = 0; j < plan_.n; ++j) a[j][lane] = own.r1[j];
      for (Index i = 0; i < plan_.m; ++i) y[i][lane] = own.r2[i];
    }
    if (any(lanes)) out_of_units();
    return lanes;
  }

  // Hands the system of one lane over and factors it. A row of a cone block in which the multiplier moves by itself, along the ray of z, is
  // an inequality for that ray.
  void eliminate(int lane, Elimination& to) {
    in_frames();
    for (Index k = 0; k < plan_.P.nnz(); ++k) to.P[k] = program.P[k][lane];
    for (Index i = 0; i < plan_.m; ++i) {
      to.kind[i] = Elimination::off;
      if (!active_[i][lane]) continue;
      const double rest = 1.0 / weight_[i][lane];
      to.kind[i] = i < plan_.zero ? Elimination::equality : i < plan_.orthant_end ? Elimination::inequality : Elimination::curved;
      to.e[i] = std::sqrt(rest);
      to.root[i] = std::sqrt(H_[i][lane] * rest);
      to.z[i] = v2_[i][lane];
    }
    for (const ConeBlock& cone : plan_.cones) {
      Index rays = 0, ray = 0;
      for (Index i = cone.first; i < cone.first + cone.rows(); ++i)
        if (to.kind[i] != Elimination::off && to.root[i] == 0.0) ++rays, ray = i;
      if (rays != 1) continue;
      to.kind[ray] = Elimination::inequality;
      if (to.z[ray] < 0.0) to.e[ray] = -to.e[ray];
      to.z[ray] = std::abs(to.z[ray]);
    }
    for (Index i = 0; i < plan_.m; ++i)
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) to.A[k] = active_[i][lane] ? to.e[i] * program.A[k][lane] : 0.0;
    to.factor();
  }

  void solve_alone(int lane) {
    Elimination& own = alone(lane);
    for (Index j = 0; j < plan_.n; ++j) own.r1[j] = r1[j][lane];
    for (Index i = 0; i < plan_.m; ++i) own.r2[i] = r2[i][lane];
    if (!own.solve()) degenerate[lane] = -1;
    if (own.leans()) leans[lane] = -1;
    for (Index j = 0; j < plan_.n; ++j) a[j][lane] = own.r1[j];
    for (Index i = 0; i < plan_.m; ++i) y[i][lane] = own.r2[i];
  }

  // Solves in the given lanes, from zero, refining until the residual no longer shrinks, or is rounding: in units of the smallest part of
  // (a, y), as c and D scale the right-hand side.
  void refine(V norm, M lanes) {
    V least = scaling_.D[0], most = scaling_.D[0];
    for (Index j = 1; j < plan_.n; ++j) {
      least = min(least, scaling_.D[j]);
      most = max(most, scaling_.D[j]);
    }
    const V enough = roundoff * norm * min(scaling_.c, 1.0 / scaling_.c) * least / most;
    V before = residual();
    for (int pass = 0; pass < passes && any(lanes); ++pass) {
      kkt_.solve(program.A, t1_, t2_, c1_, c2_);
      for (Index j = 0; j < plan_.n; ++j) a[j] = select(lanes, a[j] + c1_[j], a[j]);
      for (Index i = 0; i < plan_.m; ++i) y[i] = select(lanes, y[i] + c2_[i], y[i]);
      const V now = residual();
      lanes &= (now > enough) & (now < 0.5 * before);
      before = now;
    }
  }

  // t = r - K_E (a, y); returns its largest entry.
  V residual() {
    program.products(a, y, t1_, t2_, l1_);
    for (Index j = 0; j < plan_.n; ++j) t1_[j] = r1[j] - (t1_[j] + l1_[j]);
    for (Index i = 0; i < plan_.m; ++i) t2_[i] = select(active_[i], r2[i] - (t2_[i] - H_[i] * y[i]), V{});
    return max(largest(t1_, plan_.n), largest(t2_, plan_.m));
  }

  static V largest(const V* p, Index count) {
    V size = V{};
    for (Index j = 0; j < count; ++j) size = max(size, abs(p[j]));
    return size;
  }

  static constexpr double vanished = 2e-8;    // of a pseudo-random vector of size 1
  static constexpr double least_rest = 1e-18; // of 1 - D in rows that count
  static constexpr double roundoff = 1e-15;
  static constexpr double path_tolerance = 1e-6;
  static constexpr std::size_t room = std::size_t{64} << 20;  // for eliminations, in bytes; instances beyond it are marked
  static constexpr int passes = 20;
  static constexpr int applications = 4;

  const Plan& plan_;
  // Refinement contracts by δ/(δ + σ²), without P by δ²/(δ² + σ²), σ the singular values of the active rows, while rounding is
  // amplified by 1/δ². Linear programs can afford the larger one.
  const double regularization_;
  Scaling<V> scaling_;
  Kkt<V> kkt_;
  Cones<V> cones_;
  Uncertainty<V> uncertainty_;      // of lanes near a kink
  V *H_, *weight_;                  // per active row: D/(1 - D) and 1/(1 - D)
  M *active_, *tied_;               // per row: D < 1; slack and multiplier all but vanish
  V* g_;                            // of `add_curvature`
  V *t1_, *t2_, *l1_, *l2_, *c1_, *c2_, *w2_, *v2_;
  Elimination elimination_[lanes_of<V>];
  int slots_ = 0, held_[lanes_of<V>] = {};  // eliminations there is room for, and whose they hold
  M valid_{}, doubtful_{}, kinked_{};
  bool smoothed_ = false;
};

}  // namespace cvxl::CVXL_ISA
