#pragma once
// The two linear systems of a pass and the step along their solution, for lanes in every stage at once.

#include "ipm/far.hpp"
#include "ipm/polish.hpp"
#include "ipm/state.hpp"

namespace cvxl::CVXL_ISA {

// H of a start: soft where inequalities may be guessed by it, which a stiff start keeps from being violated.
template <class V>
CVXL_HD V softness_of(const State<V>& st) {
  return splat<V>(st.plan.guessable ? softness : 1.0);
}

// The starting point: H = I, or softer. Interior: the affine direction. Polish: the equality-constrained problem, proximal at the iterate.
template <class V>
CVXL_SEAM void first_system(State<V>& st) {
  using M = MaskOf<V>;
  const V delta = st.regularization, one = splat<V>(1.0);
  const V polish_delta = polish_regularization * st.flatness, rho = proximal(st);
  const V soft = softness_of(st);
  const bool lp = st.plan.P.nnz() == 0;
  each<V>(st.plan.n, [&](Index j) {
    V r = -st.rx[j];
    r = select(st.polish, rho * st.x[j] - st.program.q[j], r);
    r = select(st.start, lp ? V{} : -st.program.q[j], r);
    st.r1[j] = r;
  });
  each<V>(st.plan.m, [&](Index i) {
    const V b = st.program.b[i];
    if (st.is_equality(i)) {
      st.h[i] = select(st.polish, polish_delta, delta);
      st.kkt.e[i] = select(st.convexity, V{}, one);
      st.kkt.delta[i] = select(st.convexity, one, st.h[i]);
      st.r2[i] = select(st.start, b, select(st.polish, b - polish_delta * st.z[i], -st.rz[i]));
      return;
    }
    V h = select(st.interior, st.s[i] / st.z[i] + delta, select(st.start, soft, one));
    h = select(st.polish, polish_delta, h);
    st.h[i] = h;
    const M off = st.convexity | (st.polish & ~st.active[i]) | (st.start & is_far<V>(st, i));
    // A kept row is scaled by e = (1 + h)^(-1/2), which bounds its pivot; a condensed one only needs e²/Δ = 1/h.
    V e2 = st.plan.is_condensed(i) ? one : 1.0 / (1.0 + h);
    st.kkt.e[i] = select(off, V{}, st.plan.is_condensed(i) ? one : sqrt(e2));
    st.kkt.delta[i] = select(off, one, h * e2);
    st.r2[i] = select(st.start, b, select(st.polish, b - polish_delta * st.z[i], st.s[i] - st.rz[i]));
  });
}

// Opening lanes stay at their first solution where a sign is clearly wrong: the set will change anyway.
template <class V>
CVXL_HD void find_astray(State<V>& st) {
  MaskOf<V> wrong{};
  each_in<V>(st.plan.zero, st.plan.m, any_of(wrong),
             [&](Index i) { wrong |= select(st.active[i], st.z[i], st.program.b[i] - st.Ax[i]) < -clearly_wrong; });
  st.astray = st.opening & wrong;
}

// Lanes whose second system is not 0 or of no use.
template <class V>
CVXL_HD MaskOf<V> needs_second(const State<V>& st) {
  const MaskOf<V> start = st.plan.P.nnz() == 0 ? st.start : MaskOf<V>{};
  return start | st.interior | (st.polish & ~st.astray);
}

// Moves polishing lanes to the first solution, and starting lanes to the primal half of theirs.
template <class V>
CVXL_HD void keep_first_solution(State<V>& st) {
  using M = MaskOf<V>;
  const M moved = st.polish | st.start;
  V longest = V{};
  each<V>(st.plan.n, maxima(longest), [&](Index j) {
    longest = max(longest, abs(st.dx[j] - st.x[j]));
    st.x[j] = select(moved, st.dx[j], st.x[j]);
  });
  st.step = select(st.polish, longest, st.step);
  each<V>(st.plan.m, [&](Index i) {
    st.z[i] = select(moved, st.dz[i], st.z[i]);
    st.s[i] = select(st.start, -softness_of(st) * st.dz[i], st.s[i]);
  });
  if (!any(st.polish)) return;
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  if (any(st.opening)) find_astray(st);
}

// c = s + (ds_a dz_a - σμ e)/z with ds_a = -s - (s/z) dz_a; σ = (μ_aff/μ)³.
template <class V>
CVXL_HD void centre(State<V>& st) {
  V primal = splat<V>(1.0), dual = splat<V>(1.0), cross = V{}, total = V{};
  each_in<V>(st.plan.zero, st.plan.m, sums(cross, total), maxima(primal, dual), [&](Index i) {
    const V ratio = st.dz[i] / st.z[i];
    primal = max(primal, 1.0 + ratio);
    dual = max(dual, -ratio);
    st.c[i] = -st.s[i] * (1.0 + ratio) * st.dz[i];
    cross += st.c[i];
    total += st.s[i] * st.z[i];
  });
  const V alpha = 1.0 / max(primal, dual);
  const double count = static_cast<double>(std::max<Index>(st.plan.m - st.plan.zero, 1));
  const V mu = total / count;
  const V mu_affine = (total * (1.0 - alpha) + alpha * alpha * cross) / count;
  const V ratio = min(max(mu_affine / mu, V{}), splat<V>(1.0));
  const V sigma = ratio * ratio * ratio;
  // The second-order term belongs to a full affine step. Where only a short one is possible, the iterate hugs the boundary and the
  // full term would keep it there; it is weighted by what a step of that length would see of it.
  const V second_order = select(alpha < short_step, alpha * alpha, splat<V>(1.0));
  st.mu = mu;
  each_in<V>(st.plan.zero, st.plan.m, [&](Index i) { st.c[i] = st.s[i] + (second_order * st.c[i] - sigma * mu) / st.z[i]; });
}

// Interior: centring and second-order terms from the affine direction in (dx, dz). Start: the dual half for linear programs.
// Polish: the residual of the point just found.
template <class V>
CVXL_SEAM void second_system(State<V>& st) {
  st.astray = MaskOf<V>{};
  if (any(st.polish | st.start)) keep_first_solution(st);
  if (any(st.interior)) centre(st);
  const bool lp = st.plan.P.nnz() == 0;
  each<V>(st.plan.n, [&](Index j) {
    V r = -st.rx[j];
    r = select(st.polish, -(st.Px[j] + st.program.q[j] + st.Atz[j]), r);
    r = select(st.start, lp ? -st.program.q[j] : V{}, r);
    st.r1[j] = r;
  });
  each<V>(st.plan.m, [&](Index i) {
    V r = -st.rz[i];
    if (!st.is_equality(i)) r += st.c[i];
    r = select(st.polish, st.program.b[i] - st.Ax[i], r);
    st.r2[i] = select(st.start, V{}, r);
  });
}

// Solves for (dx, dz) from (r1, r2), refining once in lanes whose last directions were inaccurate.
template <class V>
CVXL_SEAM void solve_refined(State<V>& st) {
  st.spoil_scratch();
  st.kkt.solve(st.program.A, st.r1, st.r2, st.dx, st.dz);
  if (!any(st.refine)) return;
  st.program.products(st.dx, st.dz, st.t1, st.t2, st.cx);
  each<V>(st.plan.n, [&](Index j) { st.t1[j] = st.r1[j] - (st.t1[j] + st.cx[j] + st.regularization * st.dx[j]); });
  each<V>(st.plan.m, [&](Index i) { st.t2[i] = st.r2[i] - (st.t2[i] - st.h[i] * st.dz[i]); });
  st.kkt.solve(st.program.A, st.t1, st.t2, st.cx, st.cz);
  each<V>(st.plan.n, [&](Index j) { st.dx[j] = select(st.refine, st.dx[j] + st.cx[j], st.dx[j]); });
  each<V>(st.plan.m, [&](Index i) { st.dz[i] = select(st.refine, st.dz[i] + st.cz[i], st.dz[i]); });
}

// Without inequalities there is nothing to guess: the problem is one linear system. A point that was given has a guess.
template <class V>
CVXL_HD void begin(State<V>& st, MaskOf<V> lanes) {
  const MaskOf<V> guessed = st.plan.m == st.plan.zero ? lanes : lanes & st.warm;
  st.polish |= guessed;
  st.start |= lanes & ~guessed;
}

// Shifts s and z of starting lanes into the interior (as Clarabel does: margin at least max(1, a tenth of the mean)).
template <class V>
CVXL_SEAM void begin_interior(State<V>& st) {
  if (st.plan.P.nnz() == 0) each<V>(st.plan.m, [&](Index i) { st.z[i] = select(st.start, st.dz[i], st.z[i]); });
  const V one = splat<V>(1.0), infinity = splat<V>(__builtin_inf());
  each_in<V>(st.plan.zero, st.plan.m, [&](Index i) { st.active[i] = select(st.start, st.z[i] > 0.0, st.active[i]); });
  V near = V{}, total = V{};
  MaskOf<V> some{};
  each_in<V>(st.plan.zero, st.plan.m, sums(near), any_of(some), [&](Index i) {
    const MaskOf<V> far = is_far<V>(st, i);
    near += select(far, V{}, one);
    some |= far;
  });
  const auto shift = [&](V* v) {
    V margin = infinity, positive = V{};
    each_in<V>(st.plan.zero, st.plan.m, sums(positive), minima(margin), [&](Index i) {
      const MaskOf<V> far = any(some) ? is_far<V>(st, i) : some;
      margin = min(margin, select(far, infinity, v[i]));
      positive += select(far, V{}, max(v[i], V{}));
    });
    const V target = max(one, least_margin / max(near, one) * positive);
    const V lift = select(st.start & (margin < target), target - margin, V{});
    each_in<V>(st.plan.zero, st.plan.m, [&](Index i) { v[i] += lift; });
  };
  shift(st.s);
  shift(st.z);
  each_in<V>(st.plan.zero, st.plan.m, sums(total), [&](Index i) { total += select(is_far<V>(st, i), V{}, st.s[i] * st.z[i]); });
  join_far(st, st.start, V(select(near > 0.0, total / max(near, one), one)));
}

// Moves every lane along (dx, dz), and those that have finished a stage into the next.
template <class V>
CVXL_SEAM void advance(State<V>& st, MaskOf<V> broken) {
  using M = MaskOf<V>;
  V primal = V{}, dual = V{};
  st.changed = M{};
  each_in<V>(st.plan.zero, st.plan.m, any_of(st.changed), maxima(primal, dual), [&](Index i) {
    const V ds = -(st.c[i] + (st.h[i] - st.regularization) * st.dz[i]);
    st.c[i] = ds;
    const V change_s = ds / st.s[i], change_z = st.dz[i] / st.z[i];
    const M shrinking = change_s < change_z;
    st.changed |= st.interior & (shrinking ^ st.shrinking[i]);
    st.shrinking[i] = select(st.interior, shrinking, st.shrinking[i]);
    primal = max(primal, -change_s);
    dual = max(dual, -change_z);
  });
  const V one = splat<V>(1.0), tiny = splat<V>(1e-100);
  // Close to the solution the whole Newton step is wanted: the fraction to the boundary tends to 1 with μ.
  const V fraction = min(max(splat<V>(st.settings.step_fraction), 1.0 - st.mu), splat<V>(longest_fraction));
  V alpha_primal = min(one, fraction / max(primal, tiny));
  V alpha_dual = min(one, fraction / max(dual, tiny));
  if (st.plan.P.nnz() > 0) alpha_primal = alpha_dual = min(alpha_primal, alpha_dual);
  st.alpha = min(alpha_primal, alpha_dual);

  const M corrected = st.polish & ~st.astray, moved = st.interior | corrected;
  alpha_primal = select(st.interior, alpha_primal, select(corrected, one, V{}));
  alpha_dual = select(st.interior, alpha_dual, select(corrected, one, V{}));
  each<V>(st.plan.n, [&](Index j) { st.x[j] += alpha_primal * select(moved, st.dx[j], V{}); });
  each<V>(st.plan.m, [&](Index i) { st.z[i] += alpha_dual * select(moved, st.dz[i], V{}); });
  each_in<V>(st.plan.zero, st.plan.m, [&](Index i) { st.s[i] += select(st.interior, alpha_primal * st.c[i], V{}); });
  if (any(st.start)) begin_interior(st);
  st.outcome.iterations += select(st.interior | st.polish, one, V{});
  st.fresh = st.start | st.convexity;
  st.interior |= st.start;
  if (st.plan.guessable && st.settings.polish && any(st.start)) open(st, st.start);
  st.start = M{};
  st.not_convex = st.convexity & broken;
  begin(st, st.convexity & ~broken);
  st.convexity = M{};
}

}  // namespace cvxl::CVXL_ISA
