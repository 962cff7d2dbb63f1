#pragma once
// Polish: the guessed active set is solved as equalities. Lanes enter it from the interior, and return there if it fails, or with
// the active set of a point they were given, and start cold if it fails.

#include "ipm/residuals.hpp"
#include "ipm/state.hpp"

namespace cvxl::CVXL_ISA {

// ρ, which is weaker in lanes that polish where the objective is flat (ipm/relative.hpp).
template <class V>
CVXL_HD V proximal(const State<V>& st) {
  return select(st.polish, st.settings.regularization / st.flatness, st.regularization);
}

// Lanes whose last polish has found x, up to a short step.
template <class V>
CVXL_HD MaskOf<V> is_certain(const State<V>& st) {
  return st.left <= st.settings.tolerance;
}

// Counts a step of these lanes, and returns those in which it was much shorter than the one before. Short steps shrink at one rate,
// that of the flattest direction; a long one may hide shorter ones that do not.
template <class V>
CVXL_HD MaskOf<V> count_step(State<V>& st, V step, MaskOf<V> lanes) {
  const V rate = step / st.step;
  st.left = select(lanes, select(step < one_rate, step * min(rate, splat<V>(1.0)), step), st.left);
  st.step = select(lanes, step, st.step);
  return rate < progress;
}

// A guess is tried for the first time.
template <class V>
CVXL_HD void begin_tries(State<V>& st, MaskOf<V> lanes) {
  st.tries = select(lanes, V{}, st.tries);
  st.misses = select(lanes, V{}, st.misses);
  st.least_wrong = select(lanes, splat<V>(__builtin_inf()), st.least_wrong);
}

// Interior lanes polish, and keep the point that they return to if that fails.
template <class V>
CVXL_HD void leave_interior(State<V>& st, MaskOf<V> lanes) {
  st.keep(lanes, st.saved_x, st.saved_z, st.saved_s);
  begin_tries(st, lanes);
  st.flatness = select(lanes, splat<V>(1.0), st.flatness);
  st.polish |= lanes;
  st.interior &= ~lanes;
}

// Guesses the active set by one of two indicators, as soon as it has not changed for a pass: {s < z}, which is right early where
// data have one scale, or the rows whose slack shrinks faster than their multiplier (Tapia 1980; El-Bakry, Tapia, Zhang 1994),
// which no units change. A lane that is a solution already, as it has met the target or has stalled at the tolerance, tries once
// more, by the latter, before it ends.
template <class V>
CVXL_SEAM void enter_polish(State<V>& st, MaskOf<V> inner, MaskOf<V> met) {
  using M = MaskOf<V>;
  M same = ~M{};
  each_in<V>(st.plan.zero, st.plan.m, all_of(same), [&](Index i) {
    const M smaller = st.s[i] < st.z[i];
    same &= ~(smaller ^ st.smaller[i]);
    st.smaller[i] = select(inner, smaller, st.smaller[i]);
  });
  st.wait = select(inner, max(st.wait - 1.0, V{}), st.wait);
  const M solution = met | ((st.merit <= st.settings.tolerance) & (st.stalled == quadratic_idle - 1.0));
  const M ready = ((same | (~st.changed & (st.merit < rates_tell))) & (st.wait <= 0.0)) | (solution & ~st.last);
  const M enter = inner & ready & ~st.out_of_iterations();
  if (!any(enter)) return;
  st.last |= enter & solution;
  each_in<V>(st.plan.zero, st.plan.m, [&](Index i) {
    st.active[i] = select(enter, select(same & ~solution, st.smaller[i], st.shrinking[i]), st.active[i]);
  });
  leave_interior(st, enter);
}

// Lanes polish at once, from the starting point and the active set that its multipliers guess.
template <class V>
CVXL_SEAM void open(State<V>& st, MaskOf<V> lanes) {
  st.opening |= lanes;
  leave_interior(st, lanes);
}

// Refines polishing lanes until their linear systems are solved to rounding: the active rows may be almost dependent, and then the
// proximal term leaves more than a factor of 1e-7 per solve; and while steps shrink that are not short yet: where the objective is
// flat residuals are small from the start. A multiplier of 1e23 makes of a residual of 1e-18 a gap of 1e5, which no other test sees:
// lanes that this would fail go on as long as it shrinks. Leaves the products of (x, z).
template <class V>
CVXL_SEAM void refine_polish(State<V>& st, MaskOf<V> busy) {
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  V before = splat<V>(__builtin_inf()), error_before = before;
  for (int pass = 0;; ++pass) {
    V residual = V{}, size = V{}, longest = V{}, extent = V{}, error = V{}, objective = V{};
    each<V>(st.plan.n, sums(error, objective), maxima(longest, extent, residual, size), [&](Index j) {
      longest = max(longest, abs(st.dx[j]));
      extent = max(extent, abs(st.x[j]));
      st.r1[j] = -(st.Px[j] + st.program.q[j] + st.Atz[j]);
      residual = max(residual, abs(st.r1[j]));
      size = max(size, abs(st.Px[j]) + abs(st.program.q[j]) + abs(st.Atz[j]));
      error += abs(st.r1[j] * st.x[j]);
      objective += st.x[j] * (0.5 * st.Px[j] + st.program.q[j]);
    });
    each<V>(st.plan.m, sums(error), maxima(residual, size), [&](Index i) {
      st.r2[i] = st.program.b[i] - st.Ax[i];
      const V counted = st.is_equality(i) ? abs(st.r2[i]) : select(st.active[i], abs(st.r2[i]), V{});
      residual = max(residual, counted);
      size = max(size, abs(st.program.b[i]) + abs(st.Ax[i]));
      error += counted * abs(st.z[i]);
    });
    const MaskOf<V> shortens = count_step(st, length(st, st.dx, longest, extent), busy);
    const MaskOf<V> unrefined = ((residual > refined * size) & (residual < progress * before)) | (shortens & ~is_certain(st));
    const MaskOf<V> gap_left = (error > polish_accept * max(st.scaling.c, abs(objective))) & (error < progress * error_before);
    busy &= pass < polish_refinements ? unrefined | gap_left : gap_left;
    if (pass == most_polish_refinements || !any(busy)) return;
    before = residual;
    error_before = error;
    st.kkt.solve(st.program.A, st.r1, st.r2, st.cx, st.cz);
    const auto move = [&](V* value, V* last, const V* by, Index count) {
      each<V>(count, [&](Index k) {
        last[k] = select(busy, by[k], last[k]);
        value[k] = select(busy, value[k] + by[k], value[k]);
      });
    };
    move(st.x, st.dx, st.cx, st.plan.n);
    move(st.z, st.dz, st.cz, st.plan.m);
    st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  }
}

// Polished lanes: s = b - Ax off the active set, z = 0 there. Signs that come out wrong are counted in `wrong` and the
// active set becomes {z > 0} ∪ {s < 0}.
template <class V>
CVXL_SEAM void project(State<V>& st, MaskOf<V> polished) {
  using M = MaskOf<V>;
  st.wrong = V{};
  each_in<V>(st.plan.zero, st.plan.m, sums(st.wrong), [&](Index i) {
    const V slack = st.program.b[i] - st.Ax[i];
    const M active = st.active[i];
    st.wrong += select(select(active, st.z[i], slack) < -sign_tolerance, splat<V>(1.0), V{});
    st.s[i] = select(polished, select(active, V{}, max(slack, V{})), st.s[i]);
    st.active[i] = (st.active[i] & ~polished) | (polished & ((active & (st.z[i] > 0.0)) | (~active & (slack < 0.0))));
    st.z[i] = select(polished, select(active, max(st.z[i], V{}), V{}), st.z[i]);
  });
}

// Lanes that were given a point, in the user's units in `saved`, take it as the proximal centre and its active set as the guess.
template <class V>
CVXL_SEAM void take_given(State<V>& st, MaskOf<V> given) {
  each<V>(st.plan.n, [&](Index j) { st.x[j] = select(given, st.saved_x[j] * st.scaling.D_inverse[j], st.x[j]); });
  each<V>(st.plan.m, [&](Index i) {
    st.z[i] = select(given, st.saved_z[i] * st.scaling.c * st.scaling.E_inverse[i], st.z[i]);
    st.s[i] = select(given, st.saved_s[i] * st.scaling.E[i], st.s[i]);
    st.active[i] |= given & (st.s[i] < st.z[i]);
  });
  begin_tries(st, given);
}

// Failed attempts try the updated set while fewer and fewer signs are wrong, and weaker proximal terms where these hold back; then
// they go back to the interior iterate and wait longer, or start cold where there is none.
template <class V>
CVXL_SEAM void leave_polish(State<V>& st, MaskOf<V> failed) {
  using M = MaskOf<V>;
  if (!any(failed)) return;
  st.tries = select(failed, st.tries + 1.0, st.tries);
  st.held = (st.held & ~failed) | (failed & (st.wrong == 0.0) & ~is_certain(st));
  const M weaker = weaken(st, M(failed & st.held));
  st.misses = select(st.wrong < st.least_wrong, V{}, st.misses + 1.0);
  st.least_wrong = select(failed, min(st.wrong, st.least_wrong), st.least_wrong);
  const M hopeful = (st.wrong > 0.0) & (st.misses <= select(st.opening, splat<V>(patience), V{}));
  const M few = st.tries < select(st.opening, splat<V>(most_opening_tries), splat<V>(most_tries));
  const M again = failed & (weaker | hopeful) & few & ~st.out_of_iterations();
  const M cold = failed & ~again & st.warm;
  const M back = failed & ~again & ~cold;
  st.take(back, st.saved_x, st.saved_z, st.saved_s);
  const M opened = back & st.opening;
  st.opening &= ~back;
  st.spent += select(opened, st.tries, V{});
  st.wait = select(back & ~opened, st.backoff, st.wait);
  st.backoff = select(back & ~opened, 2.0 * st.backoff, st.backoff);
  each<V>(st.plan.n, [&](Index j) { st.x[j] = select(cold, V{}, st.x[j]); });
  each<V>(st.plan.m, [&](Index i) {
    st.z[i] = select(cold, V{}, st.z[i]);
    st.s[i] = select(cold, V{}, st.s[i]);
    st.active[i] &= ~cold;
  });
  st.warm &= ~cold;
  st.polish &= ~(back | cold);
  st.interior |= back;
  st.start |= cold;
  if (any(back)) evaluate(st);
}

}  // namespace cvxl::CVXL_ISA
