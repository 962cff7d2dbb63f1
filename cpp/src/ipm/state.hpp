#pragma once
// What the quadratic loop keeps beyond the iterate, whose residuals are Px + q + A'z and Ax + s - b.

#include "ipm/iterate.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
struct State : Iterate<V> {
  using M = MaskOf<V>;
  static constexpr bool takes_points = true;  // to start from

  V *h, *c;                         // per row: H + δ; the right-hand side of the complementarity equations, then ds
  M* active;                        // per row: guessed active
  M *smaller, *shrinking;           // per row: s < z; the last step shortened s more than z, each relative to itself

  M given{};                        // lanes whose instance came with a point, which is in `saved`, in the user's units
  M warm{};                         // lanes that begin, or have begun and not given up, from a point they were given
  V mark{};                         // merit when it last improved
  M drift{};                        // lanes whose dual residual shrinks less than it should
  M opening{};                      // lanes whose polish began at the start, before any interior step
  M astray{};                       // of these, lanes whose first solution of this pass has clearly wrong signs
  V wrong{}, least_wrong{};         // signs that a polish got wrong, now and at best
  V tries{}, misses{};              // attempts of a polish, and those since its best
  M changed{};                      // lanes in which the last step changed which rows are `shrinking`
  M last{};                         // lanes whose last polish started from a solution
  V flatness{}, step{},
      left{};     // of a polish: what weakens its proximal terms, at least 1; how long its last step was, the next may be
  M held{};                         // lanes whose last polish had the right signs, and was held back by proximal terms
  V wait{}, backoff{};              // passes until the next polish, and after that one
  Moved<V> moved;

  CVXL_HD State(const PlanView& p, const Settings& options, Arena& arena)
      : Iterate<V>(p, options, arena), h(arena.take<V>(p.m)), c(arena.take<V>(p.m)) {
    for (M** v : {&active, &smaller, &shrinking}) *v = arena.take<M>(p.m);
  }
};

// What the data are multiplied by at the iterate.
template <class V>
CVXL_HD V homogenized(const State<V>&) {
  return splat<V>(1.0);
}

}  // namespace cvxl::CVXL_ISA
