#pragma once
// What "relative" means: by what the errors of a point, and of a proof that there is none, are divided.
//
// Let r_d = Px + q + A'z and r_p = Ax + s - b at a point with s ∈ K, z ∈ K*. By convexity, for a solution (x*, z*),
//
//     f(x) - f* ≤ s'z + |z|'|r_p| + |r_d|'|x - x*|,      f* - f(x) ≤ |z*|'|r_p|.
//
// Near a solution the right-hand sides are at most e = s'z + |z|'|r_p| + |r_d|'|x|, the duality gap with each of its terms taken
// absolutely: what a large norm hides in a residual, a large multiplier shows here. The gap is e relative to the objective.
//
// That bounds the objective alone: far from the origin e is small against f = k² when nothing is known of x yet. So the
// gap also counts complementarity, whatever f is: min(s, 1) z of a row relative to the largest multiplier of an inequality, s'z of
// a cone relative to its own s and z, and to what is far below the largest multiplier.
//
// Nor do residuals bound the error of x where the objective is flat: it is that of stationarity over the curvature, which is 1/k
// for a cone's boundary at distance k from its apex, and the weight of a term that fades. sᵀz of a cone is of second order in the
// angle between s and z, and says even less. There x is known to within the next step of Newton's method, and to nothing else.
//
// Residuals are relative to the row or column that they belong to. While the loop goes on, a row is given |b| + |s| and the largest
// entry of x, which is cheap; where it ends (`worst_component`) each has the sum of the sizes of its own terms, or 1.

#include "ipm/tuning.hpp"
#include "kkt/entries.hpp"
#include "kkt/equilibration.hpp"

namespace cvxl::CVXL_ISA {

// A polish of flatness f has proximal terms ρ/f and δ f: they leave ρκ/f of a step where the curvature is 1/κ, and δ f of one
// across active rows, so that f = √κ is best. Weakens them in lanes that they hold back, and returns those in which that was
// possible.
template <class V, template <class> class State>
CVXL_HD MaskOf<V> weaken(State<V>& st, MaskOf<V> held) {
  held &= st.flatness < most_flat;
  st.flatness = select(held, min(flatter * st.flatness, splat<V>(most_flat)), st.flatness);
  return held;
}

// The length of a step, in equilibrated units: its largest entry, of entries of x that are large relative to 1e-4 of them.
inline constexpr double large = 1e4;

template <class V, template <class> class State>
CVXL_HD V length(const State<V>& st, const V* dx, V largest, V extent) {
  if (!any(extent > large)) return largest;
  V longest = V{};
  each<V>(st.plan.n, maxima(longest),
          [&](Index j) { longest = max(longest, abs(dx[j]) / max(splat<V>(1.0), abs(st.x[j]) / large)); });
  return longest;
}

template <class V>
CVXL_HD V relative_gap(V error, V primal_objective, V dual_objective, V complement) {
  const V one = splat<V>(1.0);
  return max(error / max(one, min(abs(primal_objective), abs(dual_objective))), complement);
}

// A proof of infeasibility: z with A'z = 0, b'z < 0 (Farkas), or x with Px = 0, Ax ∈ -K, q'x < 0.
//
// Let v be what should be zero and g the gain, -b'z or -q'x. For a feasible point g ≤ |v|'|x|, so that v excludes those with
// ‖x‖ < g/‖v‖, in units of the data b: that is the first distance. The second is the backward error: v relative to the certificate,
// in equilibrated units, where rows and columns have norm 1. Px is small against q'x wherever P is; only against P and x it tells
// that the objective does not curve. And a gain below the rounding of its own terms is none.
template <class V>
struct Certificate {
  V violation{}, scaled_violation{}, gained{}, terms{}, norm{};

  CVXL_INLINE void violate(V v, V unscale) {
    violation = max(violation, abs(v) * unscale);
    scaled_violation = max(scaled_violation, abs(v));
  }

  CVXL_INLINE void gain(V data, V certificate) {
    const V term = data * certificate;
    gained -= term;
    terms += abs(term);
    norm = max(norm, abs(certificate));
  }

  // What both of them accumulate.
  CVXL_INLINE auto gaining() { return together(sums(gained, terms), maxima(norm)); }
  CVXL_INLINE auto violating() { return maxima(violation, scaled_violation); }

  CVXL_HD V distance(V data_norm, V c_inverse) const {
    const V relative = violation * max(splat<V>(1.0), data_norm) / (gained * c_inverse);
    return select(gained > rounding_of_gain * terms, max(relative, scaled_violation / norm), splat<V>(__builtin_inf()));
  }
};

// The sizes of the terms of Px + q + A'z, in equilibrated units, into t1: of the wanted columns.
template <class V, template <class> class State, class Wanted>
CVXL_HD void measure_columns(State<V>& st, Wanted&& wanted) {
  const PlanView& plan = st.plan;
  const V of_data = homogenized(st);
  each<V>(plan.n, [&](Index j) { st.t1[j] = of_data * abs(st.program.q[j]); });
  each_entry_of_P<V>(plan, [&](Index j, Index i, Index k) {
    if (wanted(j)) st.t1[j] += abs(st.program.P[k] * st.x[i]);
  });
  each_entry_of_A<V>(plan, [&](Index j, Index i, Index k) {
    if (wanted(j)) st.t1[j] += abs(st.program.A[k] * st.z[i]);
  });
}

// The same of all columns, and of Ax + s - b, into t2.
template <class V, template <class> class State>
CVXL_SEAM void measure_terms(State<V>& st) {
  const PlanView& plan = st.plan;
  const V of_data = homogenized(st);
  measure_columns(st, [](Index) { return true; });
  each<V>(plan.m, [&](Index i) {
    V own = of_data * abs(st.program.b[i]) + (st.is_equality(i) ? V{} : abs(st.s[i]));
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) own += abs(st.program.A[k] * st.x[plan.A.indices[k]]);
    st.t2[i] = own;
  });
  // A cone block turns as a whole: its rows have one size.
  for (const ConeBlock& cone : plan.cones) {
    const Index end = cone.first + cone.rows();
    V most = V{};
    each_in<V>(cone.first, end, maxima(most), [&](Index i) { most = max(most, st.t2[i]); });
    each_in<V>(cone.first, end, [&](Index i) { st.t2[i] = most; });
  }
}

// Marks the columns whose stationarity residual in some of the lanes is not small beside qⱼ, (Px)ⱼ or (A'z)ⱼ, which are at most the
// sum of the sizes of the terms; half of the tolerance leaves room for rounding. Returns whether there are any.
template <class V, template <class> class State>
CVXL_HD bool mark_columns(State<V>& st, MaskOf<V> lanes, double tolerance) {
  const V of_data = homogenized(st);
  bool found = false;
  each<V>(st.plan.n, any_of(found), [&](Index j) {
    const V least = max(of_data * abs(st.program.q[j]), max(abs(st.Px[j]), abs(st.Atz[j])));
    found |= st.marked[j] = any(lanes & ~(abs(st.rx[j]) <= 0.5 * tolerance * least));
  });
  return found;
}

// Lanes in which every stationarity residual is small beside the terms of its own column, or is rounding beside those of the
// largest: a column whose terms are all tiny, such as the weight of a regularizer that fades, is known to digits too. One that
// passes a cheap test is not asked again in company of others that do not.
template <class V, template <class> class State>
CVXL_SEAM MaskOf<V> is_stationary(State<V>& st, MaskOf<V> lanes, double tolerance) {
  using M = MaskOf<V>;
  M passed = st.absolute <= rounding_of_terms * unit<V>;
  if (const M open = lanes & ~passed; !any(open) || !mark_columns(st, open, tolerance)) return lanes;
  measure_columns(st, [&](Index j) { return st.marked[j]; });
  M small = ~M{};
  each<V>(st.plan.n, all_of(small), [&](Index j) {
    if (st.marked[j]) small &= abs(st.rx[j]) <= tolerance * st.t1[j];
  });
  passed |= small;
  if (!any(lanes & ~passed)) return lanes;
  measure_columns(st, [](Index) { return true; });
  V largest = V{};
  const auto unscale = [&](Index j) { return st.scaling.D_inverse[j]; };
  each<V>(st.plan.n, maxima(largest), [&](Index j) { largest = max(largest, st.t1[j] * unscale(j)); });
  small = ~M{};
  each<V>(st.plan.n, all_of(small), [&](Index j) {
    small &= (abs(st.rx[j]) <= tolerance * st.t1[j]) | (abs(st.rx[j]) * unscale(j) <= rounding_of_terms * unit<V> * largest);
  });
  return lanes & (passed | small);
}

// Lanes, among those given, in which every stationarity residual is rounding beside the terms of its own column: no step leads
// further.
template <class V, template <class> class State>
CVXL_SEAM MaskOf<V> is_rounded(State<V>& st, MaskOf<V> lanes) {
  if (!any(lanes)) return lanes;
  measure_columns(st, [](Index) { return true; });
  each<V>(st.plan.n, all_of(lanes), [&](Index j) { lanes &= abs(st.rx[j]) <= rounding_of_terms * unit<V> * st.t1[j]; });
  return lanes;
}

// The largest residual of a row or column relative to the sizes of its own terms or 1, exact in the lanes where it is above
// `enough`. Reads the point and its residuals, writes scratch t1 (n) and t2 (m).
template <class V, template <class> class State>
CVXL_SEAM V worst_component(State<V>& st, MaskOf<V> lanes, double enough) {
  if (!any(lanes & ~(st.absolute <= enough))) return st.absolute;
  measure_terms(st);
  const PlanView& plan = st.plan;
  const V one = splat<V>(1.0), c_inverse = 1.0 / st.scaling.c;
  V worst = V{};
  const auto count = [&](V r, V own, V unscale) { worst = max(worst, abs(r) * unscale / max(one, own * unscale)); };
  each<V>(plan.n, maxima(worst), [&](Index j) { count(st.rx[j], st.t1[j], st.scaling.D_inverse[j] * c_inverse); });
  each<V>(plan.m, maxima(worst), [&](Index i) { count(st.rz[i], st.t2[i], st.scaling.E_inverse[i]); });
  return select(st.absolute <= enough, st.absolute, worst);
}

// What the gap would be off by if every number of the program were off by half a unit in the last place of a double, as it may be:
// where arithmetic is more exact than that, data still are not. As worst_component; τ = 1.
template <class V, template <class> class State>
CVXL_HD V error_of_data(State<V>& st) {
  measure_terms(st);
  V sum = V{};
  each<V>(st.plan.n, sums(sum), [&](Index j) { sum += st.t1[j] * abs(st.x[j]); });
  each<V>(st.plan.m, sums(sum), [&](Index i) { sum += st.t2[i] * abs(st.z[i]); });
  return 0x1p-53 * sum / (st.scaling.c * max(splat<V>(1.0), abs(st.outcome.objective)));
}

}  // namespace cvxl::CVXL_ISA
