#pragma once
// Data that came in single precision are known to a few digits only: each number to `settings.rounding`. What that may explain is
// no verdict about an instance; the data are moved by the least that removes it, within what is known of them:
//
//   P    has an eigenvalue just below zero: P + λI, for the first λ of a short geometric sequence with which it can be factored
//   b    of equalities that depend on each other and do not quite agree: its projection on the range of their rows
//   b    with any other certificate z of infeasibility, A'z = 0, whose gain -b'z is below Σ|b_i z_i| times the rounding:
//        b - z (b'z)/(z'z)
//
// In double precision nothing of this happens.

#include <algorithm>

#include "cvxl/status.hpp"
#include "ipm/tuning.hpp"
#include "kkt/equilibration.hpp"

namespace cvxl::CVXL_ISA {

// What the loops keep of it, per lane.
template <class V>
struct Moved {
  V lift{};      // λ so far, in equilibrated units
  V looked{};    // whether the equalities have been looked at
  V times{};     // how often b was moved
  V b{};         // by how much, in the user's units
  V doubtful{};  // distance from a certificate that rounding may explain
};

// Of lanes whose P could not be factored: adds to its diagonal where rounding allows, and returns those that are to be tried again.
template <class V, template <class> class State>
CVXL_SEAM MaskOf<V> lift(State<V>& st, MaskOf<V> lanes) {
  if (!any(lanes) || st.settings.rounding == 0.0) return MaskOf<V>{};
  const auto diagonal = [&](Index i) -> V* {  // of P, where it has one
    const Index begin = st.plan.P.indptr[i], end = st.plan.P.indptr[i + 1];
    return end > begin && st.plan.P.indices[end - 1] == i ? st.program.P + (end - 1) : nullptr;
  };
  V size = V{};
  each<V>(st.plan.n, maxima(size), [&](Index i) {
    if (const V* p = diagonal(i)) size = max(size, *p);
  });
  const V most = st.settings.rounding * size;
  lanes &= st.moved.lift < most;
  const V next = select(lanes, min(max(4.0 * st.moved.lift, most / 64.0), most), st.moved.lift);
  each<V>(st.plan.n, [&](Index i) {
    if (V* p = diagonal(i)) *p += next - st.moved.lift;
  });
  st.moved.lift = next;
  return lanes;
}

// A certificate of infeasibility that rounding may explain is none, but remembered. `bz` as its distance was computed from.
template <class V, template <class> class State>
CVXL_SEAM void doubt(State<V>& st, const V* z, V bz) {
  if (st.settings.rounding == 0.0) return;
  V size = V{};
  each<V>(st.plan.m, sums(size), [&](Index i) { size += abs(st.program.b[i] * z[i]); });
  const V infinity = splat<V>(__builtin_inf());
  const MaskOf<V> explained = -bz <= st.settings.rounding / st.scaling.c * size;
  st.moved.doubtful = select(explained, st.no_primal, infinity);
  st.no_primal = select(explained, infinity, st.no_primal);
}

// Takes `by`, in equilibrated units, from b.
template <class V, template <class> class State>
CVXL_HD void take_from_b(State<V>& st, const V* by, MaskOf<V> lanes) {
  V largest = V{};
  each<V>(st.plan.m, maxima(largest), [&](Index i) {
    const V change = select(lanes, by[i], V{});
    st.program.b[i] -= change;
    largest = max(largest, abs(change) * st.scaling.E_inverse[i]);
  });
  st.moved.b += largest;
  st.moved.times += select(lanes, splat<V>(1.0), V{});
}

// Moves b of lanes whose equalities disagree by no more than rounding, and returns these. The residual of min ½x'(P + I)x, Ax = b,
// by the method of multipliers is what is orthogonal to the range of A. Overwrites scratch and the factorization.
template <class V, template <class> class State>
CVXL_SEAM MaskOf<V> agree(State<V>& st, MaskOf<V> lanes) {
  const V one = splat<V>(1.0);
  st.moved.looked = select(lanes, one, st.moved.looked);
  each<V>(st.plan.m, [&](Index i) {
    const bool equality = i < st.plan.zero;
    st.kkt.e[i] = equality ? one : V{};
    st.kkt.delta[i] = equality ? splat<V>(polish_regularization) : one;
    st.r2[i] = equality ? st.program.b[i] : V{};
  });
  each<V>(st.plan.n, [&](Index j) { st.t1[j] = V{}; });
  st.kkt.factorize(st.program.P, st.program.A, one);
  V before = splat<V>(__builtin_inf());
  MaskOf<V> busy = lanes;
  for (int pass = 0; pass < 10 && any(busy); ++pass) {
    each<V>(st.plan.n, [&](Index j) { st.r1[j] = V{}; });
    st.kkt.solve(st.program.A, st.r1, st.r2, st.cx, st.cz);
    each<V>(st.plan.n, [&](Index j) { st.t1[j] += select(busy, st.cx[j], V{}); });
    st.program.products(st.t1, st.cz, st.dx, st.dz, st.r1);
    V change = V{};
    each<V>(st.plan.zero, maxima(change), [&](Index i) {
      const V r = st.program.b[i] - st.dz[i];
      change = max(change, abs(r - st.r2[i]));
      st.r2[i] = r;
    });
    busy &= (change > 1e-15) & (change < 0.5 * before);
    before = change;
  }
  V squares = V{}, size = V{}, largest = V{};
  each<V>(st.plan.zero, sums(squares, size), maxima(largest), [&](Index i) {
    squares += st.r2[i] * st.r2[i];
    size += abs(st.program.b[i] * st.r2[i]);
    largest = max(largest, abs(st.program.b[i]));
  });
  lanes &= (squares <= st.settings.rounding * size) & (squares > 1e-28 * largest * largest);
  take_from_b(st, st.r2, lanes);
  return lanes;
}

// Moves b off the certificate z.
template <class V, template <class> class State>
CVXL_SEAM void project_out(State<V>& st, const V* z, MaskOf<V> lanes) {
  V bz = V{}, squares = V{};  // in the user's units z is E z
  each<V>(st.plan.m, sums(bz, squares), [&](Index i) {
    bz += st.program.b[i] * z[i];
    squares += st.scaling.E[i] * st.scaling.E[i] * z[i] * z[i];
  });
  each<V>(st.plan.m, [&](Index i) { st.t2[i] = st.scaling.E[i] * st.scaling.E[i] * z[i] * (bz / squares); });
  take_from_b(st, st.t2, lanes);
}

// Lanes, among those given, whose data have been moved and which must start again. `slow`: lanes that get nowhere.
template <class V, template <class> class State>
CVXL_SEAM MaskOf<V> reconcile(State<V>& st, const V* z, MaskOf<V> lanes, MaskOf<V> slow) {
  using M = MaskOf<V>;
  M moved{};
  if (st.settings.rounding == 0.0) return moved;
  const M look = lanes & (st.moved.looked == 0.0) & (slow | (st.moved.doubtful < suspicious));
  if (st.plan.zero > 0 && any(look)) moved = agree(st, look);
  const M certain = lanes & ~moved & (st.moved.doubtful < st.settings.infeasibility_tolerance) & (st.moved.times < most_moves);
  if (any(certain)) project_out(st, z, certain);
  return moved | certain;
}

// The status of a lane that ends, and its residual, in view of what it was solved for.
template <class V, template <class> class State>
CVXL_HD Status outcome_of(State<V>& st, int lane, Status status) {
  if (!(st.moved.times[lane] > 0.0)) return status;
  const double off = static_cast<double>(st.moved.b[lane]) / std::max(1.0, static_cast<double>(st.b_norm[lane]));
  st.outcome.primal_residual[lane] = std::max(static_cast<double>(st.outcome.primal_residual[lane]), off);
  return status == Status::solved && off > st.settings.tolerance ? Status::almost_solved : status;
}

}  // namespace cvxl::CVXL_ISA
