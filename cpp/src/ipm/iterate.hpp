#pragma once
// What both loops keep of the W instances in their lanes.

#include "cvxl/settings.hpp"
#include "ipm/rounding.hpp"
#include "ipm/tuning.hpp"
#include "kkt/equilibration.hpp"
#include "kkt/factor.hpp"
#include "lanes/check.hpp"

namespace cvxl::CVXL_ISA {

// How well each lane's point solves its instance, in the user's units.
template <class V>
struct Outcome {
  V primal_residual{}, dual_residual{}, gap{}, objective{}, iterations{};
};

template <class V>
struct Iterate {
  using M = MaskOf<V>;

  const PlanView& plan;
  const Settings& settings;
  ProgramPack<V> program;
  Equilibration<V> scaling;
  Kkt<V> kkt;

  V *x, *z, *s;                     // the iterate, in equilibrated units
  V *Px, *Atz, *Ax;                 // its products
  V *rx, *rz;                       // its residuals
  V *r1, *r2, *dx, *dz;             // right-hand sides and direction
  V *best_x, *best_z, *best_s;      // the interior iterate of least merit
  V *saved_x, *saved_z, *saved_s;   // the interior iterate that a polish started from
  V *t1, *t2, *cx, *cz;             // scratch of every solve: what is put there lives until the next one
  bool* marked;                     // columns that a test looks at more closely

  // The stage of each lane; a lane in none is idle, and none is in two. `fresh` lanes have just changed theirs.
  M convexity{}, start{}, interior{}, polish{}, fresh{};
  M not_convex{};                   // lanes whose P has just proved not to be positive semidefinite
  M refine{};                       // lanes whose directions are refined

  Outcome<V> outcome;
  V q_norm{}, b_norm{};             // of the user's data
  V far{};                          // bounds above this are far away
  V mu{}, alpha{};                  // of the last interior step
  V merit{}, best_merit{};          // the largest of the relative residuals and the gap
  V absolute{};                     // the largest residual, in the user's units
  V no_primal{}, no_dual{};         // distance from a certificate of infeasibility
  V stalled{};                      // passes without progress

  Iterate(const PlanView& p, const Settings& options, Arena& arena)
      : plan(p), settings(options), program(p, arena), scaling(p, arena, 4.0), kkt(p, arena) {
    for (V** v : {&x, &Px, &Atz, &rx, &r1, &dx, &best_x, &saved_x, &t1, &cx}) *v = arena.take<V>(p.n);
    marked = arena.take<bool>(p.n);
    for (V** v : {&z, &s, &Ax, &rz, &r2, &dz, &best_z, &best_s, &saved_z, &saved_s, &t2, &cz}) *v = arena.take<V>(p.m);
  }

  M live() const { return convexity | start | interior | polish; }
  M out_of_iterations() const { return outcome.iterations >= static_cast<double>(settings.max_iterations); }
  bool is_equality(Index i) const { return i < plan.zero; }

  void check_stages() const {
    const M twice = (convexity & start) | ((convexity | start) & interior) | ((convexity | start | interior) & polish);
    check(!any(twice), "a lane is in one stage at most");
  }
  // What a solve does to scratch, whether it refines or not.
  void spoil_scratch() {
    if constexpr (!assertions) return;
    const V garbage = splat<V>(__builtin_nan(""));
    for (V* v : {t1, cx}) fill<V>(v, plan.n, garbage);
    for (V* v : {t2, cz}) fill<V>(v, plan.m, garbage);
  }

  // In the given lanes, a point ← the iterate, and the iterate ← a point.
  void keep(M lanes, V* to_x, V* to_z, V* to_s) const {
    each<V>(plan.n, [&](Index j) { to_x[j] = select(lanes, x[j], to_x[j]); });
    each<V>(plan.m, [&](Index i) {
      to_z[i] = select(lanes, z[i], to_z[i]);
      to_s[i] = select(lanes, s[i], to_s[i]);
    });
  }
  void take(M lanes, const V* from_x, const V* from_z, const V* from_s) {
    each<V>(plan.n, [&](Index j) { x[j] = select(lanes, from_x[j], x[j]); });
    each<V>(plan.m, [&](Index i) {
      z[i] = select(lanes, from_z[i], z[i]);
      s[i] = select(lanes, from_s[i], s[i]);
    });
  }
};

}  // namespace cvxl::CVXL_ISA
