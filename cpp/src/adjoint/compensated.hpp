#pragma once
// Sums of products in twice the working precision (Ogita, Rump, Oishi 2005, "Accurate sum and dot product"): every rounding error
// is computed exactly and carried along. Residuals formed so let iterative refinement reach full accuracy in ill-conditioned systems.

#include "kkt/program_pack.hpp"

namespace cvxl::CVXL_ISA {

// a·b - p where p is a·b rounded; exact.
template <class V>
CVXL_INLINE V product_error(V a, V b, V p) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  V r;
  for (int l = 0; l < lanes_of<V>; ++l) r[l] = __builtin_fma(a[l], b[l], -p[l]);
  return r;
#else
  const auto high = [](V v) {  // the upper half of the digits (Veltkamp)
    const V c = 134217729.0 * v;
    return c - (c - v);
  };
  const V a1 = high(a), b1 = high(b), a2 = a - a1, b2 = b - b1;
  return a2 * b2 - (((p - a1 * b1) - a2 * b1) - a1 * b2);
#endif
}

// (sum, error) += a·b
template <class V>
CVXL_INLINE void add_product(V& sum, V& error, V a, V b) {
  const V p = a * b, total = sum + p, part = total - sum;
  error += ((sum - (total - part)) + (p - part)) + product_error(a, b, p);
  sum = total;
}

// (t1, t2) = (r1, r2) - [P, A'; A, 0] (x, z), the errors kept in (l1, l2) until the end.
template <class V>
void subtract_products(const ProgramPack<V>& program, const V* r1, const V* r2, const V* x, const V* z, V* t1, V* t2, V* l1, V* l2) {
  const Plan& plan = program.plan;
  for (Index j = 0; j < plan.n; ++j) {
    t1[j] = r1[j];
    l1[j] = V{};
  }
  for (Index i = 0; i < plan.n; ++i)
    for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
      const Index j = plan.P.indices[k];
      add_product(t1[i], l1[i], -program.P[k], x[j]);
      if (i != j) add_product(t1[j], l1[j], -program.P[k], x[i]);
    }
  for (Index i = 0; i < plan.m; ++i) {
    V sum = r2[i], error = V{};
    for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) {
      const Index j = plan.A.indices[k];
      add_product(sum, error, -program.A[k], x[j]);
      add_product(t1[j], l1[j], -program.A[k], z[i]);
    }
    t2[i] = sum;
    l2[i] = error;
  }
}

}  // namespace cvxl::CVXL_ISA
