#pragma once
// What both loops make of the residuals of their columns, and of all of their tests in the end (ipm/relative.hpp).

#include "ipm/iterate.hpp"
#include "ipm/relative.hpp"

namespace cvxl::CVXL_ISA {

// Of the columns: x'Px, the largest residual in the user's units, ‖x‖∞, and Σ |r_j x_j|.
template <class V>
struct Columns {
  V quadratic{}, residual{}, x_norm{}, error{};
};

// Proofs of infeasibility that (x, z) may be.
template <class V>
struct Proofs {
  Certificate<V> primal, dual;
};

// Leaves Px + τq + A'z in rx.
template <class V, template <class> class State>
CVXL_INLINE Columns<V> assess_columns(State<V>& st, Proofs<V>& proofs) {
  const V c_inverse = 1.0 / st.scaling.c, tau = homogenized(st);
  Columns<V> sum;
  each<V>(st.plan.n, sums(sum.quadratic, sum.error), maxima(sum.residual, sum.x_norm), proofs.primal.violating(),
          proofs.dual.violating(), proofs.dual.gaining(), [&](Index j) {
            const V r = st.Px[j] + st.program.q[j] * tau + st.Atz[j];
            const V unscale = st.scaling.D_inverse[j] * c_inverse;
            st.rx[j] = r;
            sum.quadratic += st.x[j] * st.Px[j];
            sum.residual = max(sum.residual, abs(r) * unscale);
            sum.error += abs(r * st.x[j]);
            proofs.primal.violate(st.Atz[j], unscale);
            proofs.dual.violate(st.Px[j], unscale);
            proofs.dual.gain(st.program.q[j], st.x[j]);
            sum.x_norm = max(sum.x_norm, abs(st.x[j]) * st.scaling.D[j]);
          });
  return sum;
}

// The merit of the outcome, and how far x and z are from being proofs.
template <class V, template <class> class State>
CVXL_INLINE void set_merit(State<V>& st, const Proofs<V>& proofs) {
  const V c_inverse = 1.0 / st.scaling.c;
  st.merit = max(max(st.outcome.primal_residual, st.outcome.dual_residual), st.outcome.gap);
  // NaN compares false both ways: make it infinite so that every test sees a bad point.
  st.merit = select(st.merit < splat<V>(1e300), st.merit, splat<V>(__builtin_inf()));
  st.no_primal = proofs.primal.distance(st.b_norm, c_inverse);
  st.no_dual = proofs.dual.distance(st.q_norm, c_inverse);
  doubt(st, st.z, -proofs.primal.gained * c_inverse);
}

}  // namespace cvxl::CVXL_ISA
