#pragma once
// Bounds far above all other data.
//
// Such a row hardly matters to the solution, but in the starting point, where every row counts alike, it would be all that does: x
// would be drawn to it, and all slacks be lifted to its size. It is left out of the system of the start, and joins with a slack of
// its own and the multiplier that makes it as centred as the others.

#include "cvxl/program.hpp"
#include "ipm/tuning.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

// Decides in new lanes from where on a bound is far: the sizes of q, of equalities, and of bounds that are not above 0.
template <class V, template <class> class State>
void find_far(State<V>& st, MaskOf<V> lanes) {
  V size = splat<V>(1.0);
  each<V>(st.plan.n, maxima(size), [&](Index j) { size = max(size, abs(st.program.q[j])); });
  each<V>(st.plan.orthant_end, maxima(size),
          [&](Index i) { size = max(size, st.is_equality(i) ? abs(st.program.b[i]) : -st.program.b[i]); });
  each_in<V>(st.plan.orthant_end, st.plan.m, maxima(size), [&](Index i) { size = max(size, abs(st.program.b[i])); });
  st.far = select(lanes, far_away * size, st.far);
}

template <class V, template <class> class State>
CVXL_INLINE MaskOf<V> is_far(const State<V>& st, Index i) {
  return st.program.b[i] > st.far;
}

// Gives the far rows of lanes that have an x their slack, and their multiplier.
template <class V, template <class> class State>
void join_far(State<V>& st, MaskOf<V> lanes, V mu) {
  using M = MaskOf<V>;
  M some{};
  each_in<V>(st.plan.zero, st.plan.orthant_end, any_of(some), [&](Index i) { some |= lanes & is_far<V>(st, i); });
  if (!any(some)) return;
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  each_in<V>(st.plan.zero, st.plan.orthant_end, [&](Index i) {
    const M far = lanes & is_far<V>(st, i);
    st.s[i] = select(far, max(st.program.b[i] - st.Ax[i], splat<V>(1.0)), st.s[i]);
    st.z[i] = select(far, mu / st.s[i], st.z[i]);
  });
}

}  // namespace cvxl::CVXL_ISA
