#pragma once
// How lanes leave a loop.

#include "cvxl/status.hpp"
#include "ipm/iterate.hpp"
#include "ipm/load_lanes.hpp"

namespace cvxl::CVXL_ISA {

// Writes the instances of these lanes out; the lanes are idle then.
template <class V, template <class> class State, class Loader>
CVXL_SEAM void finish(State<V>& st, Loader& loader, MaskOf<V> lanes, Status status) {
  if (!any(lanes)) return;
  for (int lane = 0; lane < lanes_of<V>; ++lane)
    if (lanes[lane]) loader.store(lane, outcome_of(st, lane, status));
  st.interior &= ~lanes;
  st.polish &= ~lanes;
  st.refine &= ~lanes;
}

// The same for `which` of the lanes.
template <class V, template <class> class State, class Loader>
CVXL_HD void finish_some(State<V>& st, Loader& loader, MaskOf<V>& lanes, MaskOf<V> which, Status status) {
  which &= lanes;
  finish(st, loader, which, status);
  lanes &= ~which;
}

// Lanes that are proven infeasible, and not solved by `merit`.
template <class V, template <class> class State, class Loader>
CVXL_HD void finish_infeasible(State<V>& st, Loader& loader, MaskOf<V>& lanes, V merit) {
  const MaskOf<V> open = merit > st.settings.tolerance;
  finish_some(st, loader, lanes, open & (st.no_primal < st.settings.infeasibility_tolerance), Status::primal_infeasible);
  finish_some(st, loader, lanes, open & (st.no_dual < st.settings.infeasibility_tolerance), Status::dual_infeasible);
}

// Lanes that hold their best point, of which `worst` is the merit; `limit`: out of iterations.
template <class V, template <class> class State, class Loader>
CVXL_HD void conclude(State<V>& st, Loader& loader, MaskOf<V> lanes, V worst, MaskOf<V> limit) {
  finish_some(st, loader, lanes, worst <= st.settings.tolerance, Status::solved);
  finish_some(st, loader, lanes, worst <= st.settings.reduced_tolerance, Status::almost_solved);
  finish_some(st, loader, lanes, limit, Status::max_iterations);
  finish_some(st, loader, lanes, ~(st.best_merit < __builtin_inf()), Status::numerical_error);
  finish(st, loader, lanes, Status::insufficient_progress);
}

// Lanes, among those given, that may start again, and from now on have proximal terms of the size of rounding. Where rows are almost
// dependent A'z is all but blind to some z, of which the solution may need much: a step gains at most the residual over δ of it.
// Elsewhere such terms are too weak to keep rounding out of the factor.
template <class V, template <class> class State>
CVXL_HD MaskOf<V> loosen(State<V>& st, MaskOf<V> lanes) {
  lanes &= st.regularization > loosest * unit<V>;
  st.spent = select(lanes, st.outcome.iterations, st.spent);
  st.regularization = select(lanes, splat<V>(loosest * unit<V>), st.regularization);
  return lanes;
}

// Takes lanes off their stage, back to x = 0, to start again.
template <class V, template <class> class State>
CVXL_HD void withdraw(State<V>& st, MaskOf<V> lanes) {
  st.interior &= ~lanes;
  st.polish &= ~lanes;
  st.refine &= ~lanes;
  forget_point(st, lanes);
}

}  // namespace cvxl::CVXL_ISA
