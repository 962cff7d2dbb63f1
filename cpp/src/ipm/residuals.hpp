#pragma once
// Residuals of the iterate, its distance from a solution and from certificates of infeasibility. Termination and its scaling follow
// Clarabel (arXiv 2405.12762, sec. 2), on the user's units of the data.

#include "ipm/state.hpp"

namespace cvxl::CVXL_ISA {

// How far z is from a proof of primal infeasibility, b'z < 0 and A'z = 0 (Farkas), and x from one of dual infeasibility, q'x < 0
// and Px = 0, Ax ∈ -K: the violation relative to the gain, in units of b or q.
template <class V>
void certify(State<V>& st, const V* z, V bz, V Atz_norm, V qx, V ray_norm) {
  const V one = splat<V>(1.0), infinity = splat<V>(__builtin_inf());
  st.no_primal = select(bz < 0.0, Atz_norm * max(one, st.b_norm) / -bz, infinity);
  st.no_dual = select(qx < 0.0, ray_norm * max(one, st.q_norm) / -qx, infinity);
  doubt(st, z, bz);
}

// Residuals, merit and certificates of every lane from the products of its point.
template <class V>
void assess(State<V>& st) {
  const V c_inverse = 1.0 / st.scaling.c;
  V quadratic = V{}, linear = V{}, dual = V{}, x_norm = V{}, Px_norm = V{}, Atz_norm = V{};
  for (Index j = 0; j < st.plan.n; ++j) {
    const V r = st.Px[j] + st.program.q[j] + st.Atz[j];
    const V unscale = st.scaling.D_inverse[j] * c_inverse;
    st.rx[j] = r;
    quadratic += st.x[j] * st.Px[j];
    linear += st.program.q[j] * st.x[j];
    dual = max(dual, abs(r) * unscale);
    Px_norm = max(Px_norm, abs(st.Px[j]) * unscale);
    Atz_norm = max(Atz_norm, abs(st.Atz[j]) * unscale);
    x_norm = max(x_norm, abs(st.x[j]) * st.scaling.D[j]);
  }
  V bz = V{}, primal = V{}, s_norm = V{}, z_norm = V{}, ray = V{};
  for (Index i = 0; i < st.plan.m; ++i) {
    const V slack = st.is_equality(i) ? V{} : st.s[i];
    const V r = st.Ax[i] + slack - st.program.b[i];
    st.rz[i] = r;
    bz += st.program.b[i] * st.z[i];
    primal = max(primal, abs(r) * st.scaling.E_inverse[i]);
    ray = max(ray, abs(st.Ax[i] + slack) * st.scaling.E_inverse[i]);
    s_norm = max(s_norm, abs(slack) * st.scaling.E_inverse[i]);
    z_norm = max(z_norm, abs(st.z[i]) * st.scaling.E[i]);
  }
  const V one = splat<V>(1.0);
  z_norm *= c_inverse;
  const V primal_objective = (0.5 * quadratic + linear) * c_inverse;
  const V dual_objective = -(0.5 * quadratic + bz) * c_inverse;
  const V difference = abs(primal_objective - dual_objective);

  st.outcome.primal_residual = primal / max(one, st.b_norm + x_norm + s_norm);
  const V dual_before = st.outcome.dual_residual;
  st.outcome.dual_residual = dual / max(one, st.q_norm + x_norm + z_norm);
  st.outcome.gap = difference / max(one, min(abs(primal_objective), abs(dual_objective)));
  st.outcome.objective = primal_objective;
  st.merit = max(max(st.outcome.primal_residual, st.outcome.dual_residual), st.outcome.gap);
  // NaN compares false both ways: make it infinite so that every test below sees a bad point.
  st.merit = select(st.merit < splat<V>(1e300), st.merit, splat<V>(__builtin_inf()));
  st.drift = st.outcome.dual_residual > max(splat<V>(st.settings.target), 2.0 * (1.0 - st.alpha) * dual_before + 1e-3 * dual_before);

  certify(st, st.z, bz * c_inverse, Atz_norm, linear * c_inverse, max(Px_norm, ray));
}

// The same from the point alone.
template <class V>
void evaluate(State<V>& st) {
  st.program.products(st.x, st.z, st.Px, st.Ax, st.Atz);
  assess(st);
}

}  // namespace cvxl::CVXL_ISA
