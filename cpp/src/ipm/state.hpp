#pragma once
// What the loop keeps of the W instances in its lanes.

#include "cvxl/settings.hpp"
#include "kkt/equilibrate.hpp"
#include "ipm/rounding.hpp"
#include "kkt/factor.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
using MaskOf = Mask<lanes_of<V>>;

// How well each lane's point solves its instance, in the user's units.
template <class V>
struct Outcome {
  V primal_residual{}, dual_residual{}, gap{}, objective{}, iterations{};
};

template <class V>
struct State {
  using M = MaskOf<V>;

  const Plan& plan;
  const Settings& settings;
  ProgramPack<V> program;
  Scaling<V> scaling;
  Kkt<V> kkt;

  V *x, *z, *s;                     // the iterate, in equilibrated units
  V *Px, *Atz, *Ax;                 // its products
  V *rx, *rz;                       // its residuals Px + q + A'z and Ax + s - b
  V *r1, *r2, *dx, *dz;             // the linear system of the moment and its solution
  V *h, *c;                         // per row: H + δ; the right-hand side of the complementarity equations, then ds
  V *best_x, *best_z, *best_s;      // the interior iterate of least merit
  V *saved_x, *saved_z, *saved_s;   // the interior iterate that a polish started from
  V *t1, *t2, *cx, *cz;             // scratch of refinements
  M* active;                        // per row: guessed active
  M *smaller, *shrinking;           // per row: s < z; the last step shortened s more than z, each relative to itself

  // The stage of each lane; a lane in none is idle. `fresh` lanes have just changed theirs.
  M convexity{}, start{}, interior{}, polish{}, fresh{};
  M refine{};                       // lanes whose directions are refined
  M given{};                        // lanes whose instance came with a point, which is in `saved`, in the user's units
  M warm{};                         // lanes that begin, or have begun and not given up, from a point they were given
  M not_convex{}, drift{};

  Outcome<V> outcome;
  V q_norm{}, b_norm{};             // of the user's data
  V mu{}, alpha{};                  // of the last interior step
  V merit{}, best_merit{};          // the largest of the relative residuals and the gap
  V no_primal{}, no_dual{};         // distance from a certificate of infeasibility
  V wrong{}, last_wrong{}, tries{}; // signs that a polish got wrong, now and before; its attempts
  M changed{};                      // lanes in which the last step changed which rows are `shrinking`
  M last{};                         // lanes whose last polish started from a solution
  V flatness{}, step{}, left{};     // of a polish: what weakens its proximal terms, at least 1; how long its last step was, the next may be
  M held{};                         // lanes whose last polish had the right signs, and was held back by proximal terms
  V wait{}, backoff{};              // passes until the next polish, and after that one
  V stalled{};                      // passes without progress
  V far{};                          // bounds above this are far away
  V absolute{};                     // the largest residual, in the user's units
  Moved<V> moved;

  State(const Plan& p, const Settings& options, Arena& arena)
      : plan(p), settings(options), program(p, arena), scaling(p, arena, 4.0), kkt(p, arena) {
    for (V** v : {&x, &Px, &Atz, &rx, &r1, &dx, &best_x, &saved_x, &t1, &cx}) *v = arena.take<V>(p.n);
    for (V** v : {&z, &s, &Ax, &rz, &r2, &dz, &h, &c, &best_z, &best_s, &saved_z, &saved_s, &t2, &cz}) *v = arena.take<V>(p.m);
    active = arena.take<M>(p.m);
    smaller = arena.take<M>(p.m);
    shrinking = arena.take<M>(p.m);
  }

  M live() const { return convexity | start | interior | polish; }
  M out_of_iterations() const { return outcome.iterations >= static_cast<double>(settings.max_iterations); }
  bool is_equality(Index i) const { return i < plan.zero; }
};

// What the data are multiplied by at the iterate.
template <class V>
V homogenized(const State<V>&) {
  return splat<V>(1.0);
}

}  // namespace cvxl::CVXL_ISA
