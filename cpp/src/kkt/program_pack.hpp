#pragma once
// The numbers of W cone programs of one structure, interleaved, and their products with vectors.

#include "kkt/symbolic.hpp"
#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
struct ProgramPack {
  const Plan& plan;
  V *P, *A, *q, *b;

  ProgramPack(const Plan& p, Arena& arena)
      : plan(p),
        P(arena.take<V>(p.P.indices.size())),
        A(arena.take<V>(p.A.indices.size())),
        q(arena.take<V>(p.n)),
        b(arena.take<V>(p.m)) {}

  // Px += P x
  void add_Px(const V* x, V* Px) const {
    for (Index i = 0; i < plan.n; ++i) {
      V sum = V{};
      for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
        const Index j = plan.P.indices[k];
        sum += P[k] * x[j];
        if (j != i) Px[j] += P[k] * x[i];
      }
      Px[i] += sum;
    }
  }

  // Ax = A x and Atz += A'z in one pass over A.
  void multiply(const V* x, const V* z, V* Ax, V* Atz) const {
    for (Index i = 0; i < plan.m; ++i) {
      V sum = V{};
      const V zi = z[i];
      for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) {
        const Index j = plan.A.indices[k];
        sum += A[k] * x[j];
        Atz[j] += A[k] * zi;
      }
      Ax[i] = sum;
    }
  }

  // Px = P x, Ax = A x, Atz = A'z.
  void products(const V* x, const V* z, V* Px, V* Ax, V* Atz) const {
    for (Index j = 0; j < plan.n; ++j) Px[j] = Atz[j] = V{};
    add_Px(x, Px);
    multiply(x, z, Ax, Atz);
  }
};

}  // namespace cvxl::CVXL_ISA
