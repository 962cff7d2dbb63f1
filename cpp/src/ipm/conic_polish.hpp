#pragma once
// The end of the homogeneous loop, for lanes that are close enough to a solution.
//
// An interior point at gap ε is off the solution by √ε where curvature of a cone pins it down, and what users differentiate is the
// solution. So a lane that is close enough is polished: Newton's method on the optimality conditions
//
//     Px + q + A'z = 0,   Ax + s - b = 0,   s = Π(w), κz = s - w,
//
// in (x, w). Π is differentiable where the solution is, its derivative is diagonal in frames of the cones like any scaling, and
// convergence is quadratic (Ali, Wong, Kolter 2017). κ > 0, one for each block, gives s and z of a block one size: whether a
// block lies on the boundary must not be drowned by a multiplier of 1e9, or overlooked for one of 1e-9. The boundary curves as 1/κ
// there: where that is flat steps are sharpened, and a polish goes on until they are short. A polish that does not help gives way
// to the interior iterate it came from.

#include "ipm/balance.hpp"
#include "ipm/sharpen.hpp"

namespace cvxl::CVXL_ISA {

// w ← what belongs to these slacks, which equalities have none of, and multipliers.
template <class V, class Slack, class Multiplier>
CVXL_HD void place(Embedding<V>& st, MaskOf<V> lanes, Slack&& slack, Multiplier&& multiplier) {
  each<V>(st.plan.m, [&](Index i) {
    st.t2[i] = st.is_equality(i) ? V{} : slack(i);
    st.cz[i] = st.balance[i] * multiplier(i);
  });
  st.cones.difference(st.t2, st.cz, st.w, lanes);
}

// Whether x of a polish is known: where the objective is flat (ipm/relative.hpp) up to the length of its last step.
template <class V>
CVXL_HD MaskOf<V> is_certain(const Embedding<V>& st) {
  return ~(st.flatness > 1.0) | (st.step <= st.settings.tolerance);
}

// By how much the best point may be off.
template <class V>
CVXL_HD V uncertainty(const Embedding<V>& st) {
  return select(st.flatness > 1.0, st.left, V{});
}

// One step of Newton's method from the solution (x₁, z₁) of the affine system.
template <class V>
CVXL_SEAM void polish_step(Embedding<V>& st) {
  const MaskOf<V> flat = st.polish & (st.flatness > 1.0);
  V left = V{};
  if (any(flat)) {
    const System<V> system{st.r1, st.r2, st.x1, st.z1};
    left = select(flat, sharpen(st, flat, system, {st.dx, st.dz, st.r1, st.r2, st.image, st.ds}, sharp), V{});
  }
  copy<V>(st.z1, st.plan.m, st.cz);
  st.cones.back(st.cz);
  st.program.slacks(st.x1, st.t2);
  V longest = V{}, extent = V{};
  each<V>(st.plan.n, maxima(longest, extent), [&](Index j) {
    st.x[j] += select(st.polish, st.x1[j], V{});
    longest = max(longest, select(st.polish, abs(st.x1[j]), V{}));
    extent = max(extent, select(st.polish, abs(st.x[j]), V{}));
  });
  const V before = st.step;
  st.step = select(st.polish, length(st, st.x1, longest, extent) + left, before);
  st.shortens = st.step < polish_helps * before;
  place(st, st.polish, [&](Index i) { return st.s[i] - st.rz[i] - st.t2[i]; }, [&](Index i) { return st.z[i] + st.cz[i]; });
}

// (s, z) of polishing lanes ← those that belong to w.
template <class V>
CVXL_SEAM void project_polish(Embedding<V>& st, MaskOf<V> lanes) {
  const V one = splat<V>(1.0);
  each<V>(st.plan.m, [&](Index i) { st.z[i] *= select(lanes, st.balance[i], one); });
  st.cones.project(st.w, V{}, st.s, st.z, lanes);
  each<V>(st.plan.m, [&](Index i) { st.z[i] /= select(lanes, st.balance[i], one); });
}

// Divides by τ; the interior iterate is kept. What comes next is w's projection.
template <class V>
CVXL_SEAM void enter_polish(Embedding<V>& st, MaskOf<V> lanes) {
  if (!any(lanes)) return;
  const V factor = select(lanes, 1.0 / st.tau, splat<V>(1.0));
  const auto move = [&](V* value, V* saved, Index count) {
    each<V>(count, [&](Index k) {
      saved[k] = select(lanes, value[k], saved[k]);
      value[k] *= factor;
    });
  };
  move(st.x, st.saved_x, st.plan.n);
  move(st.z, st.saved_z, st.plan.m);
  move(st.s, st.saved_s, st.plan.m);
  st.saved_tau = select(lanes, st.tau, st.saved_tau);
  st.saved_kappa = select(lanes, st.kappa, st.saved_kappa);
  st.tau = select(lanes, splat<V>(1.0), st.tau);
  st.kappa = select(lanes, V{}, st.kappa);
  st.last_merit = select(lanes, splat<V>(__builtin_inf()), st.last_merit);
  st.misses = select(lanes, V{}, st.misses);
  st.step = select(lanes, splat<V>(__builtin_inf()), st.step);
  st.polish |= lanes;
  st.interior &= ~lanes;
  balance_at_start(st, factor, lanes);
  place(st, lanes, [&](Index i) { return st.s[i]; }, [&](Index i) { return st.z[i]; });
}

// Back to the interior iterate; the next attempt is made much closer to the solution.
template <class V>
CVXL_SEAM void leave_polish(Embedding<V>& st, MaskOf<V> lanes) {
  if (!any(lanes)) return;
  st.take(lanes, st.saved_x, st.saved_z, st.saved_s);
  st.tau = select(lanes, st.saved_tau, st.tau);
  st.kappa = select(lanes, st.saved_kappa, st.kappa);
  st.polish_at *= select(lanes, splat<V>(later_polish), splat<V>(1.0));
  st.interior |= lanes;
  st.polish &= ~lanes;
  st.refine &= ~lanes | st.stiff;
  evaluate(st);
}

// Remembers the point of lanes that are better than ever.
template <class V>
CVXL_SEAM void keep_best(Embedding<V>& st, MaskOf<V> lanes) {
  // An interior point may have a smaller gap than a solution found on a flat boundary.
  const V enough = select(st.last, splat<V>(st.settings.tolerance), splat<V>(st.settings.target));
  const MaskOf<V> found = st.polish & (st.flatness > 1.0) & is_certain(st) & (st.merit <= enough);
  const MaskOf<V> better = lanes & ((st.merit < st.best_merit) | found), improved = better & (st.merit < progress * st.best_merit);
  st.stalled = select(improved, V{}, st.stalled + select(st.polish, V{}, splat<V>(1.0)));
  if (!any(better)) return;
  st.best_merit = select(better, st.merit, st.best_merit);
  st.left = select(better, select(st.polish, st.step, splat<V>(__builtin_inf())), st.left);
  const V tau_inverse = 1.0 / st.tau;
  each<V>(st.plan.n, [&](Index j) { st.best_x[j] = select(better, st.x[j] * tau_inverse, st.best_x[j]); });
  each<V>(st.plan.m, [&](Index i) {
    st.best_z[i] = select(better, st.z[i] * tau_inverse, st.best_z[i]);
    st.best_s[i] = select(better, st.s[i] * tau_inverse, st.best_s[i]);
  });
  note_active(st, MaskOf<V>(better & st.interior & (st.merit <= st.settings.reduced_tolerance)));
}

// A polish goes on while it helps; returns the lanes in which it is done.
template <class V>
CVXL_SEAM MaskOf<V> watch_polish(Embedding<V>& st, MaskOf<V> polished) {
  MaskOf<V> helps = (st.merit < polish_helps * st.last_merit) | (st.shortens & (st.flatness > 1.0));
  const MaskOf<V> slow = polished & ~helps & (st.merit < polish_converges);  // where convergence should be quadratic
  st.refine |= slow;
  const MaskOf<V> held = slow & (st.step > st.settings.tolerance);
  helps |= weaken(st, held & ~is_rounded(st, held));
  helps |= balance_again(st, MaskOf<V>(polished & st.last & is_certain(st) & (st.merit > st.settings.target)));
  st.misses += select(helps, V{}, splat<V>(1.0));
  const MaskOf<V> certain = is_certain(st);
  st.last_merit = select(polished, min(st.last_merit, st.merit), st.last_merit);
  const V best = min(st.merit, st.best_merit);
  return polished & ((certain & (st.merit <= polished_enough * unit<V>)) | (st.misses >= most_misses) |
                     ~(st.merit < polish_diverges) | (certain & (best <= st.settings.target) & ~helps));
}

}  // namespace cvxl::CVXL_ISA
