#pragma once
// Directions of the homogeneous loop (ipm/homogeneous.hpp), put together from solutions of two systems, and how far they lead.

#include "ipm/sharpen.hpp"
#include "ipm/whole_rows.hpp"

namespace cvxl::CVXL_ISA {

// In lanes that call for it, refines (x, z), a solution of K (x, z) = (r1, r2) with r2 and z in the frames, until regularization
// has no part in it. A row of K counts as it is scaled: where H is large, rounding of Hz must not hide what is left of others. Where
// no solution is attained x/τ grows without bound: what is small beside 1 is not small beside τ.
template <class V>
CVXL_SEAM void refine(Embedding<V>& st, const V* r1, const V* r2, V* x, V* z) {
  st.spoil_scratch();
  if (!any(st.refine)) return;
  const MaskOf<V> stiff = st.refine & st.stiff & st.interior;
  if (any(stiff)) sharpen(st, stiff, {r1, r2, x, z}, st.room, sharp_direction * unit<V>);
  const V least = refined_least * unit<V> * min(st.tau, splat<V>(1.0));
  V before = splat<V>(__builtin_inf());
  for (int pass = 0;; ++pass) {
    st.cones.products(st.rotated, x, z, st.t1, st.t2, st.t3);
    V size = V{}, scale = V{};
    each<V>(st.plan.n, maxima(size, scale), [&](Index j) {
      st.t1[j] = r1[j] - (st.t1[j] + st.t3[j]);
      size = max(size, abs(st.t1[j]));
      scale = max(scale, abs(r1[j]));
    });
    each<V>(st.plan.m, maxima(size, scale), [&](Index i) {
      st.t2[i] = select(st.off[i], V{}, r2[i] - (st.t2[i] - st.H[i] * z[i]));
      const V weight = 1.0 / sqrt(1.0 + st.H[i]);
      size = max(size, weight * abs(st.t2[i]));
      scale = max(scale, weight * abs(r2[i]));
    });
    if (pass > 0) {  // take back what made it worse
      const MaskOf<V> worse = ~(size <= before);
      each<V>(st.plan.n, [&](Index j) { x[j] -= select(worse, st.cx[j], V{}); });
      each<V>(st.plan.m, [&](Index i) { z[i] -= select(worse, st.cz[i], V{}); });
      st.stiff |= st.refine & st.interior & worse & (before > stagnant * scale);
      size = select(worse, V{}, size);
    }
    const MaskOf<V> stops = pass == refinements ? ~MaskOf<V>{} : ~(size < progress * before);
    st.stiff |= st.refine & st.interior & stops & (size > stagnant * scale);
    const MaskOf<V> busy = st.refine & (size > refined_direction * unit<V> * scale + least) & (size < progress * before);
    if (pass == refinements || !any(busy)) return;
    before = select(busy, size, V{});
    st.kkt.solve(st.rotated.A, st.t1, st.t2, st.cx, st.cz);
    each<V>(st.plan.n, [&](Index j) { x[j] += st.cx[j] = select(busy, st.cx[j], V{}); });
    each<V>(st.plan.m, [&](Index i) { z[i] += st.cz[i] = select(busy, st.cz[i], V{}); });
  }
}

// (x₁, z₁) of the affine direction, in starting lanes (-q, 0), the dual half, in polishing ones the step; and (x₂, z₂), in starting
// lanes of linear programs (0, b), which gives the primal half of the starting point. The second right-hand side is in (dx, dz).
template <class V>
CVXL_SEAM void affine_and_constant_system(Embedding<V>& st) {
  const MaskOf<V> primal_only = st.plan.P.nnz() == 0 ? st.start : MaskOf<V>{};
  each<V>(st.plan.n, [&](Index j) {
    st.r1[j] = select(st.start, -st.program.q[j], -st.rx[j]);
    st.dx[j] = select(primal_only | st.polish, V{}, -st.program.q[j]);
  });
  copy<V>(st.program.b, st.plan.m, st.b);
  each<V>(st.plan.m, [&](Index i) {
    st.r2[i] = select(st.start, V{}, (st.is_equality(i) ? V{} : select(st.polish, V{}, st.s[i])) - st.rz[i]);
  });
  st.cones.forward(st.b);
  st.cones.forward(st.r2);
  each<V>(st.plan.m, [&](Index i) { st.dz[i] = select(st.polish, V{}, st.b[i]); });
  st.cones.check_frames();
  st.kkt.template solve<2>(st.rotated.A, {st.r1, st.dx}, {st.r2, st.dz}, {st.x1, st.x2}, {st.z1, st.z2});
  refine(st, st.dx, st.dz, st.x2, st.z2);
  refine(st, st.r1, st.r2, st.x1, st.z1);
}

// (x₁, z₁) of the combined direction, from (r1, r2).
template <class V>
CVXL_HD void combined_system(Embedding<V>& st) {
  st.cones.check_frames();
  st.kkt.solve(st.rotated.A, st.r1, st.r2, st.x1, st.z1);
  refine(st, st.r1, st.r2, st.x1, st.z1);
}

// (dx, dz, ds, dτ, dκ) from the two solutions; c in `slack`, (1 - σ) in `keep`.
template <class V>
CVXL_INLINE void assemble(Embedding<V>& st, const V* slack, V keep, V d_kappa, V& dtau, V& dkappa) {
  const V xi = 1.0 / st.tau;
  V linear1 = V{}, linear2 = V{}, cross1 = V{}, cross2 = V{}, norm2 = V{};
  each<V>(st.plan.n, sums(linear1, linear2, cross1, cross2, norm2), [&](Index j) {
    linear1 += st.program.q[j] * st.x1[j];
    linear2 += st.program.q[j] * st.x2[j];
    cross1 += st.Px[j] * st.x1[j];
    cross2 += st.Px[j] * st.x2[j];
    norm2 += st.x[j] * st.Px[j];
  });
  each<V>(st.plan.m, sums(linear1, linear2), [&](Index i) {
    linear1 += st.b[i] * st.z1[i];
    linear2 += st.b[i] * st.z2[i];
  });
  const V numerator = keep * st.rtau - d_kappa * xi + linear1 + 2.0 * xi * cross1;
  const V denominator = st.kappa * xi - linear2 - 2.0 * xi * cross2 + xi * xi * norm2;
  dtau = numerator / denominator;
  dkappa = -(d_kappa + st.kappa * dtau) * xi;
  each<V>(st.plan.n, [&](Index j) { st.dx[j] = st.x1[j] + dtau * st.x2[j]; });
  each<V>(st.plan.m, [&](Index i) {
    st.dz[i] = st.z1[i] + dtau * st.z2[i];
    st.ds[i] = st.H[i] * st.dz[i];
  });
  st.cones.back(st.dz);
  st.cones.inverse(st.ds);
  each<V>(st.plan.zero, [&](Index i) { st.ds[i] = V{}; });
  each_in<V>(st.plan.zero, st.plan.m, [&](Index i) { st.ds[i] = -(slack[i] + st.ds[i]); });
  if constexpr (has_cones<V>) restore_residuals(st, keep, dtau);
}

// The step to the boundary, at most 1.
template <class V>
CVXL_INLINE V longest(Embedding<V>& st, V dtau, V dkappa) {
  const V reach = max(max(st.cones.reach(st.s, st.ds, st.z, st.dz), splat<V>(1.0)), max(-dtau / st.tau, -dkappa / st.kappa));
  V alpha = 1.0 / reach;
  alpha = select(finite(alpha), alpha, V{});
  if (!st.cones.symmetric()) alpha = st.cones.backtrack(st.s, st.ds, st.z, st.dz, min(alpha, splat<V>(nearly_whole)), st.interior);
  return alpha;
}

// In the `dual` lanes, shortens the step until the new point is close to the central path, its barrier exceeding the least possible
// by less than one, or closer than the point it leaves, to which steps with the other scaling may have led.
template <class V>
CVXL_SEAM V centred(Embedding<V>& st, V alpha, V dtau, V dkappa) {
  MaskOf<V> off = st.dual & st.interior;
  if (!any(off)) return alpha;
  const auto distance = [&](V step) {
    V sz = V{};
    each_in<V>(st.plan.zero, st.plan.m, sums(sz),
               [&](Index i) { sz += (st.s[i] + step * st.ds[i]) * (st.z[i] + step * st.dz[i]); });
    const V tau = st.tau + step * dtau, kappa = st.kappa + step * dkappa;
    const double degree = st.cones.degree() + 1.0;
    const V tiny = splat<V>(1e-300), mu = (sz + tau * kappa) / degree;
    return degree * log(max(mu, tiny)) - log(max(tau, tiny)) - log(max(kappa, tiny)) +
           st.cones.barrier(st.s, st.ds, st.z, st.dz, step);
  };
  const V most = max(splat<V>(off_centre), distance(V{}));
  for (int trial = 0; trial < recentrings && any(off); ++trial) {
    off &= ~(distance(alpha) < most);
    alpha *= select(off, splat<V>(recentring), splat<V>(1.0));
  }
  return select(off, V{}, alpha);
}

// The starting point: x and s from the first system, z from the second (both from the first where there is a quadratic term).
template <class V>
CVXL_SEAM void keep_start(Embedding<V>& st) {
  const bool lp = st.plan.P.nnz() == 0;
  copy<V>(st.z2, st.plan.m, st.t2);
  copy<V>(lp ? st.z1 : st.z2, st.plan.m, st.cz);
  st.cones.back(st.t2);
  st.cones.back(st.cz);
  each<V>(st.plan.n, [&](Index j) { st.x[j] = select(st.start, st.x2[j], st.x[j]); });
  each<V>(st.plan.m, [&](Index i) {
    st.s[i] = select(st.start, i < st.plan.zero ? V{} : -st.t2[i], st.s[i]);
    st.z[i] = select(st.start, st.cz[i], st.z[i]);
  });
}

}  // namespace cvxl::CVXL_ISA
