#pragma once
// The start of an instance, as far as it is the same in both loops.

#include "kkt/equilibration.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// The instances of these lanes are where they begin.
template <class V, template <class> class State>
CVXL_SEAM void forget_point(State<V>& st, MaskOf<V> lanes) {
  each<V>(st.plan.n, [&](Index j) { st.x[j] = select(lanes, V{}, st.x[j]); });
  st.best_merit = select(lanes, splat<V>(__builtin_inf()), st.best_merit);
  st.stalled = select(lanes, V{}, st.stalled);
}

// Fills idle lanes with the next instances, in equilibrated units, at x = 0 and before their first iteration, and returns which
// lanes these are. `exhausted`: the loader has no more. `shared_matrices` as for the loops.
template <class V, template <class> class State, class Loader>
CVXL_SEAM MaskOf<V> load_idle(State<V>& st, Loader& loader, bool shared_matrices, bool& exhausted) {
  const MaskOf<V> idle = ~st.live();
  MaskOf<V> loaded{};
  if (!any(idle) || exhausted) return loaded;
  for (int lane = 0; lane < lanes_of<V>; ++lane) {
    if (!idle[lane]) continue;
    if (!loader.load(lane)) {
      exhausted = true;
      break;
    }
    loaded[lane] = -1;
  }
  if (!any(loaded)) return loaded;
  if (!shared_matrices && !Loader::equilibrates) st.scaling.scale_matrices(st.program, loaded, st.settings.equilibrate);
  // Norms of the user's q and b, for the termination test.
  V q = V{}, b = V{};
  each<V>(st.plan.n, maxima(q), [&](Index j) { q = max(q, abs(st.program.q[j])); });
  each<V>(st.plan.m, maxima(b), [&](Index i) { b = max(b, abs(st.program.b[i])); });
  st.q_norm = select(loaded, q, st.q_norm);
  st.b_norm = select(loaded, b, st.b_norm);
  st.scaling.scale_vectors(st.program, loaded, st.settings.equilibrate);

  st.outcome.iterations = select(loaded, V{}, st.outcome.iterations);
  st.spent = select(loaded, V{}, st.spent);
  st.regularization = select(loaded, splat<V>(st.settings.regularization), st.regularization);
  if (!shared_matrices) st.moved.lift = select(loaded, V{}, st.moved.lift);
  for (V* v : {&st.moved.looked, &st.moved.times, &st.moved.b}) *v = select(loaded, V{}, *v);
  forget_point(st, loaded);
  return loaded;
}

}  // namespace cvxl::CVXL_ISA
