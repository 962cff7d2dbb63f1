#pragma once
// Residuals of the iterate, its distance from a solution and from certificates of infeasibility, in the user's units of the data.
// What the tests are relative to is derived in ipm/relative.hpp.

#include "ipm/merit.hpp"
#include "ipm/state.hpp"

namespace cvxl::CVXL_ISA {

// Residuals, merit and certificates of every lane from the products of its point.
template <class V>
CVXL_SEAM void assess(State<V>& st) {
  const V c_inverse = 1.0 / st.scaling.c;
  Proofs<V> proofs;
  const Columns<V> columns = assess_columns(st, proofs);
  V error = columns.error;
  V primal = V{}, absolute = V{}, z_norm = V{}, weight = V{}, complement = V{};
  const V one = splat<V>(1.0);
  each<V>(st.plan.m, sums(error), maxima(absolute, primal, z_norm, weight, complement), proofs.primal.gaining(),
          proofs.dual.violating(), [&](Index i) {
            const V slack = st.is_equality(i) ? V{} : st.s[i];
            const V r = st.Ax[i] + slack - st.program.b[i];
            st.rz[i] = r;
            const V unscale = st.scaling.E_inverse[i], z = abs(st.z[i]) * st.scaling.E[i] * c_inverse;
            absolute = max(absolute, abs(r) * unscale);
            primal = max(primal, abs(r) * unscale / max(one, (abs(st.program.b[i]) + slack) * unscale + columns.x_norm));
            error += abs(r * st.z[i]) + slack * st.z[i];
            proofs.primal.gain(st.program.b[i], st.z[i]);
            proofs.dual.violate(st.Ax[i] + slack, unscale);
            z_norm = max(z_norm, z);
            if (st.is_equality(i)) return;
            weight = max(weight, z);
            complement = max(complement, min(slack * unscale, one) * z);
          });
  const V linear = -proofs.dual.gained, bz = -proofs.primal.gained;
  const V primal_objective = (0.5 * columns.quadratic + linear) * c_inverse;
  const V dual_objective = -(0.5 * columns.quadratic + bz) * c_inverse;

  st.absolute = max(absolute, columns.residual);
  st.outcome.primal_residual = primal;
  const V dual_before = st.outcome.dual_residual;
  st.outcome.dual_residual = columns.residual / max(one, st.q_norm + columns.x_norm + z_norm);
  st.outcome.gap = relative_gap(error * c_inverse, primal_objective, dual_objective, complement / max(one, weight));
  st.outcome.objective = primal_objective;
  set_merit(st, proofs);
  st.drift = st.outcome.dual_residual > max(max(splat<V>(st.settings.target), unseen * st.merit),
                                            behind_twice * (1.0 - st.alpha) * dual_before + behind * dual_before);
}

// The same from the point alone.
template <class V>
CVXL_SEAM void evaluate(State<V>& st) {
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  assess(st);
}

}  // namespace cvxl::CVXL_ISA
