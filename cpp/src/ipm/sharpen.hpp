#pragma once
// A step of the polish without proximal terms, where the objective is flat.
//
// The factored system K_δ has proximal terms ρ/f and δ f (ipm/relative.hpp). Where the curvature along some direction is far below
// ρ/f, a solve leaves nearly all of the step in that direction, and so does one of iterative refinement, however small the
// residuals are. But K_δ⁻¹K differs from I in few directions, those that are flat and those of rows that all but depend on others:
// conjugate residuals preconditioned by K_δ settle each of them in one pass. Residuals are measured as the step of x that K_δ gives
// for them, since sizes of rows and columns say nothing there.

#include "ipm/embedding.hpp"

namespace cvxl::CVXL_ISA {

// (cx, cz) ← K_δ⁻¹K (x, z), or K_δ⁻¹ of what K (x, z) leaves of (r1, r2).
template <class V>
void precondition(Embedding<V>& st, const V* x, const V* z, bool residual) {
  st.cones.products(st.rotated, x, z, st.t1, st.t2, st.t3);
  for (Index j = 0; j < st.plan.n; ++j) {
    const V product = st.t1[j] + st.t3[j];
    st.t1[j] = residual ? st.r1[j] - product : product;
  }
  for (Index i = 0; i < st.plan.m; ++i) {
    const V product = st.t2[i] - st.H[i] * z[i];
    st.t2[i] = select(st.off[i], V{}, residual ? st.r2[i] - product : product);
  }
  st.kkt.solve(st.rotated.A, st.t1, st.t2, st.cx, st.cz);
}

// Refines (x₁, z₁) in these lanes; returns by how much x₁ may still be off. Spoils (dx, dz, ds), (r1, r2) and scratch.
template <class V>
V sharpen(Embedding<V>& st, MaskOf<V> lanes) {
  const Index n = st.plan.n, m = st.plan.m;
  const V tiny = splat<V>(1e-300);
  const auto inner = [&](const V* a, const V* b) {
    V sum = V{};
    for (Index j = 0; j < n; ++j) sum += a[j] * b[j];
    return sum;
  };
  const auto size = [&](const V* a) {
    V most = V{};
    for (Index j = 0; j < n; ++j) most = max(most, abs(a[j]));
    return most;
  };
  const auto extend = [](V* direction, const V* by, V beta, Index count) {
    for (Index k = 0; k < count; ++k) direction[k] = by[k] + beta * direction[k];
  };
  const auto move = [&](V* value, V alpha, const V* direction, Index count) {
    for (Index k = 0; k < count; ++k) value[k] = select(lanes, value[k] + alpha * direction[k], value[k]);
  };
  // What is left, a direction, and its image under K_δ⁻¹K.
  V *left_x = st.dx, *left_z = st.dz, *p_x = st.r1, *p_z = st.r2, *image_x = st.image, *image_z = st.ds;
  precondition(st, st.x1, st.z1, true);
  std::copy(st.cx, st.cx + n, left_x);
  std::copy(st.cz, st.cz + m, left_z);
  for (V* v : {p_x, image_x}) std::fill(v, v + n, V{});
  for (V* v : {p_z, image_z}) std::fill(v, v + m, V{});
  V amplified = splat<V>(1.0);
  for (int pass = 0; pass < sharpenings; ++pass) {
    lanes &= size(left_x) > sharp * size(st.x1);
    if (!any(lanes)) break;
    precondition(st, left_x, left_z, false);
    const V beta = -inner(st.cx, image_x) / max(inner(image_x, image_x), tiny);
    extend(p_x, left_x, beta, n);
    extend(p_z, left_z, beta, m);
    extend(image_x, st.cx, beta, n);
    extend(image_z, st.cz, beta, m);
    const V alpha = inner(left_x, image_x) / max(inner(image_x, image_x), tiny);
    amplified = select(lanes, max(amplified, abs(alpha)), amplified);
    move(st.x1, alpha, p_x, n);
    move(st.z1, alpha, p_z, m);
    move(left_x, -alpha, image_x, n);
    move(left_z, -alpha, image_z, m);
  }
  return amplified * size(left_x);
}

}  // namespace cvxl::CVXL_ISA
