#pragma once
// Residuals of the iterate, its distance from a solution and from certificates of infeasibility, in the user's units of the data.
// What the tests are relative to is derived in ipm/relative.hpp.

#include "ipm/relative.hpp"
#include "ipm/state.hpp"

namespace cvxl::CVXL_ISA {

// Residuals, merit and certificates of every lane from the products of its point.
template <class V>
void assess(State<V>& st) {
  const V c_inverse = 1.0 / st.scaling.c;
  V quadratic = V{}, dual = V{}, x_norm = V{}, error = V{};
  Certificate<V> primal_proof, dual_proof;
  for (Index j = 0; j < st.plan.n; ++j) {
    const V r = st.Px[j] + st.program.q[j] + st.Atz[j];
    const V unscale = st.scaling.D_inverse[j] * c_inverse;
    st.rx[j] = r;
    quadratic += st.x[j] * st.Px[j];
    dual = max(dual, abs(r) * unscale);
    error += abs(r * st.x[j]);
    primal_proof.violate(st.Atz[j], unscale);
    dual_proof.violate(st.Px[j], unscale);
    dual_proof.gain(st.program.q[j], st.x[j]);
    x_norm = max(x_norm, abs(st.x[j]) * st.scaling.D[j]);
  }
  V primal = V{}, absolute = V{}, z_norm = V{}, weight = V{}, complement = V{};
  const V one = splat<V>(1.0);
  for (Index i = 0; i < st.plan.m; ++i) {
    const V slack = st.is_equality(i) ? V{} : st.s[i];
    const V r = st.Ax[i] + slack - st.program.b[i];
    st.rz[i] = r;
    const V unscale = st.scaling.E_inverse[i], z = abs(st.z[i]) * st.scaling.E[i] * c_inverse;
    absolute = max(absolute, abs(r) * unscale);
    primal = max(primal, abs(r) * unscale / max(one, (abs(st.program.b[i]) + slack) * unscale + x_norm));
    error += abs(r * st.z[i]) + slack * st.z[i];
    primal_proof.gain(st.program.b[i], st.z[i]);
    dual_proof.violate(st.Ax[i] + slack, unscale);
    z_norm = max(z_norm, z);
    if (st.is_equality(i)) continue;
    weight = max(weight, z);
    complement = max(complement, min(slack * unscale, one) * z);
  }
  const V linear = -dual_proof.gained, bz = -primal_proof.gained;
  const V primal_objective = (0.5 * quadratic + linear) * c_inverse;
  const V dual_objective = -(0.5 * quadratic + bz) * c_inverse;

  st.absolute = max(absolute, dual);
  st.outcome.primal_residual = primal;
  const V dual_before = st.outcome.dual_residual;
  st.outcome.dual_residual = dual / max(one, st.q_norm + x_norm + z_norm);
  st.outcome.gap = relative_gap(error * c_inverse, primal_objective, dual_objective, complement / max(one, weight));
  st.outcome.objective = primal_objective;
  st.merit = max(max(st.outcome.primal_residual, st.outcome.dual_residual), st.outcome.gap);
  // NaN compares false both ways: make it infinite so that every test below sees a bad point.
  st.merit = select(st.merit < splat<V>(1e300), st.merit, splat<V>(__builtin_inf()));
  st.drift = st.outcome.dual_residual > max(splat<V>(st.settings.target), 2.0 * (1.0 - st.alpha) * dual_before + 1e-3 * dual_before);
  st.no_primal = primal_proof.distance(st.b_norm, c_inverse);
  st.no_dual = dual_proof.distance(st.q_norm, c_inverse);
  doubt(st, st.z, bz * c_inverse);
}

// The same from the point alone.
template <class V>
void evaluate(State<V>& st) {
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  assess(st);
}

}  // namespace cvxl::CVXL_ISA
