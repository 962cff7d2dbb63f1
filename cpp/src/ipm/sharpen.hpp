#pragma once
// Solutions without proximal terms: steps of the polish where the objective is flat, directions where refinement does not get to them.
//
// The factored system K_δ has proximal terms ρ/f and δ f (ipm/relative.hpp), f = 1 in the interior. Where the curvature along
// some direction is far below ρ/f, a solve leaves nearly all of the step in that direction, and so does one of iterative
// refinement, however small the residuals are. But K_δ⁻¹K differs from I in few directions, those that are flat and those of rows
// that all but depend on others: conjugate residuals preconditioned by K_δ settle each of them in one pass. Residuals are
// measured as the step of x that K_δ gives for them, since sizes of rows and columns say nothing there.

#include "ipm/embedding.hpp"

namespace cvxl::CVXL_ISA {

// A right-hand side, with z and r2 in the frames, and a solution.
template <class V>
struct System {
  const V *r1, *r2;
  V *x, *z;
};

// (cx, cz) ← K_δ⁻¹K (x, z), or K_δ⁻¹ of what that leaves of a right-hand side.
template <class V>
CVXL_SEAM void precondition(Embedding<V>& st, const V* x, const V* z, const System<V>* of = nullptr) {
  st.cones.products(st.rotated, x, z, st.t1, st.t2, st.t3);
  each<V>(st.plan.n, [&](Index j) {
    const V product = st.t1[j] + st.t3[j];
    st.t1[j] = of ? of->r1[j] - product : product;
  });
  each<V>(st.plan.m, [&](Index i) {
    const V product = st.t2[i] - st.H[i] * z[i];
    st.t2[i] = select(st.off[i], V{}, of ? of->r2[i] - product : product);
  });
  st.kkt.solve(st.rotated.A, st.t1, st.t2, st.cx, st.cz);
}

// Refines the solution in these lanes, until `enough` of its x is left. The room may be where the right-hand side is. Spoils scratch.
template <class V>
CVXL_SEAM V sharpen(Embedding<V>& st, MaskOf<V> lanes, const System<V>& system, const Conjugates<V>& room, double enough) {
  const Index n = st.plan.n, m = st.plan.m;
  const V tiny = splat<V>(1e-300);
  const auto inner = [&](const V* a, const V* b) {
    V sum = V{};
    each<V>(n, sums(sum), [&](Index j) { sum += a[j] * b[j]; });
    return sum;
  };
  const auto size = [&](const V* a) {
    V most = V{};
    each<V>(n, maxima(most), [&](Index j) { most = max(most, abs(a[j])); });
    return most;
  };
  const auto extend = [](V* direction, const V* by, V beta, Index count) {
    each<V>(count, [&](Index k) { direction[k] = by[k] + beta * direction[k]; });
  };
  const auto move = [&](V* value, V alpha, const V* direction, Index count) {
    each<V>(count, [&](Index k) { value[k] = select(lanes, value[k] + alpha * direction[k], value[k]); });
  };
  const auto [left_x, left_z, p_x, p_z, image_x, image_z] = room;
  V *x = system.x, *z = system.z;
  precondition(st, x, z, &system);
  copy<V>(st.cx, n, left_x);
  copy<V>(st.cz, m, left_z);
  for (V* v : {p_x, image_x}) fill<V>(v, n, V{});
  for (V* v : {p_z, image_z}) fill<V>(v, m, V{});
  V amplified = splat<V>(1.0);
  for (int pass = 0; pass < sharpenings; ++pass) {
    lanes &= size(left_x) > enough * size(x);
    if (!any(lanes)) break;
    precondition<V>(st, left_x, left_z);
    const V beta = -inner(st.cx, image_x) / max(inner(image_x, image_x), tiny);
    extend(p_x, left_x, beta, n);
    extend(p_z, left_z, beta, m);
    extend(image_x, st.cx, beta, n);
    extend(image_z, st.cz, beta, m);
    const V alpha = inner(left_x, image_x) / max(inner(image_x, image_x), tiny);
    amplified = select(lanes, max(amplified, abs(alpha)), amplified);
    move(x, alpha, p_x, n);
    move(z, alpha, p_z, m);
    move(left_x, -alpha, image_x, n);
    move(left_z, -alpha, image_z, m);
  }
  return amplified * size(left_x);
}

}  // namespace cvxl::CVXL_ISA
