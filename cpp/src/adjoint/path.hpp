#pragma once
// Whether a point is on the central path, whose derivative is asked for.

#include "adjoint/active_rows.hpp"
#include "cones/cones.hpp"
#include "kkt/equilibration.hpp"

namespace cvxl::CVXL_ISA {

inline constexpr double path_tolerance = 1e-6;

// Lanes where (x, z), scaled, solves Px + q + A'z = 0, b - Ax = -μ∇f*(z) for no μ. Rows of cones are measured in the norm of the
// barrier, by which small slacks count as much as large ones: programs without a point inside the cones have no central path, only
// near ones. Overwrites y and c, m long.
template <class V>
MaskOf<V> strays_from_path(const ProgramPack<V>& program, const Equilibration<V>& scaling, const Cones<V>& cones,
                           const ActiveRows<V>& rows, const V* x, const Room<V>& room, V* y, V* c) {
  const auto& [t1, l1, c1, t2, c2] = room;
  const PlanView& plan = program.plan;
  program.products(x, rows.z, t1, t2, l1);
  V residual = V{}, size = splat<V>(1.0), gap = V{}, distance2 = V{};
  for (Index j = 0; j < plan.n; ++j) {
    residual = max(residual, abs(t1[j] + scaling.c * scaling.D[j] * program.q[j] + l1[j]));
    size = max(size, abs(l1[j]));
  }
  for (Index i = 0; i < plan.m; ++i) {
    gap += rows.s[i] * rows.z[i];
    y[i] = c2[i] = V{};
  }
  const V mu = gap / std::max(cones.degree(), 1.0);
  cones.complement(rows.s, rows.z, y, c2, V{}, mu, c);
  for (Index i = 0; i < plan.m; ++i) t2[i] = c[i] - (t2[i] + rows.s[i] - scaling.E[i] * program.b[i]);
  for (Index i = 0; i < plan.zero; ++i) residual = max(residual, abs(t2[i]));
  cones.forward(t2);
  for (Index i = plan.zero; i < plan.m; ++i) distance2 += t2[i] * t2[i] / (cones.h[i] * mu);
  return ~((residual <= path_tolerance * size) & (distance2 <= path_tolerance * path_tolerance));
}

}  // namespace cvxl::CVXL_ISA
