#pragma once
// The numbers of W cone programs of one structure, interleaved, and their products with vectors.

#include "kkt/team_products.hpp"
#include "lanes/arena.hpp"
#include "lanes/constant.hpp"
#include "lanes/lanes.hpp"
#include "lanes/team.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

// R rows of A with one column pattern: a vector is read (or updated) once for all of them.
template <class V, int R>
class Rows {
 public:
  CVXL_INLINE Rows(const PlanView& plan, const V* A, Index first)
      : entries_(A + plan.A.indptr[first]),
        columns_(plan.A.indices.data() + plan.A.indptr[first]),
        length_(plan.A.indptr[first + 1] - plan.A.indptr[first]) {}

  // sum_r += A_r x, for each of S vectors; a single row is summed in two chains, which hide each other's latency.
  template <int S>
  CVXL_INLINE void dot(const V* const (&x)[S], V (&sum)[S][R]) const {
    Index k = 0;
    if constexpr (R == 1) {
      V other[S]{};
      for (; k + 1 < length_; k += 2)
        for (int s = 0; s < S; ++s) {
          sum[s][0] += entries_[k] * x[s][columns_[k]];
          other[s] += entries_[k + 1] * x[s][columns_[k + 1]];
        }
      for (int s = 0; s < S; ++s) sum[s][0] += other[s];
    }
    for (; k < length_; ++k)
      for (int s = 0; s < S; ++s) {
        const V xk = x[s][columns_[k]];
        for (int r = 0; r < R; ++r) sum[s][r] += entries_[r * length_ + k] * xk;
      }
  }

  // y += Σ_r t_r A_r', for each of S vectors
  template <int S>
  CVXL_INLINE void axpy(const V (&t)[S][R], V* const (&y)[S]) const {
    for (Index k = 0; k < length_; ++k)
      for (int s = 0; s < S; ++s) {
        V yk = y[s][columns_[k]];
        for (int r = 0; r < R; ++r) yk += entries_[r * length_ + k] * t[s][r];
        y[s][columns_[k]] = yk;
      }
  }

  // Both: sum_r += A_r x, in the same order, and y += Σ_r t_r A_r'.
  CVXL_INLINE void dot_and_axpy(const V* x, V (&sum)[R], const V (&t)[R], V* y) const {
    const auto step = [&](Index k, V(&to)[R]) {
      const Index j = columns_[k];
      const V xj = x[j];
      V yj = y[j];
      for (int r = 0; r < R; ++r) {
        const V entry = entries_[r * length_ + k];
        to[r] += entry * xj;
        yj += entry * t[r];
      }
      y[j] = yj;
    };
    Index k = 0;
    if constexpr (R == 1) {
      V other[1]{};
      for (; k + 1 < length_; k += 2) {
        step(k, sum);
        step(k + 1, other);
      }
      sum[0] += other[0];
    }
    for (; k < length_; ++k) step(k, sum);
  }

 private:
  const V* entries_;
  const Index* columns_;
  Index length_;
};

// Calls visit(first row, Rows, number) for runs of rows of A.
template <class V, class F>
CVXL_INLINE void for_each_run(const PlanView& plan, std::span<const RowRun> runs, const V* A, F&& visit) {
  for (const RowRun& run : runs)
    with_constant<4>(run.rows, [&](auto count) { visit(run.first, Rows<V, decltype(count)::value>(plan, A, run.first), count); });
}

template <class V>
struct ProgramPack {
  const PlanView& plan;
  V *P, *A, *q, *b;

  CVXL_HD ProgramPack(const PlanView& p, Arena& arena)
      : plan(p),
        P(arena.take<V>(p.P.indices.size())),
        A(arena.take<V>(p.A.indices.size())),
        q(arena.take<V>(p.n)),
        b(arena.take<V>(p.m)) {}

  // Px = P x, Ax = A x, Atz = A'z; one pass over P and one over A.
  CVXL_HD void products(const V* x, const V* z, V* Px, V* Ax, V* Atz) const {
    if constexpr (Team<V>::alone)
      lane_products(x, z, Px, Ax, Atz);
    else
      team_products(plan, P, A, x, z, Px, Ax, Atz);
  }

  // Ax = A x.
  CVXL_HD void slacks(const V* x, V* Ax) const {
    if constexpr (Team<V>::alone)
      for_each_run(plan, plan.runs, A, [&](Index first, const auto& rows, auto count) {
        constexpr int R = decltype(count)::value;
        V sum[1][R]{};
        rows.template dot<1>({x}, sum);
        for (int r = 0; r < R; ++r) Ax[first + r] = sum[0][r];
      });
    else
      each<V>(plan.m, [&](Index i) { Ax[i] = dot_row(plan.A, A, i, x); });
  }

 private:
  CVXL_INLINE void lane_products(const V* x, const V* z, V* Px, V* Ax, V* Atz) const {
    for (Index j = 0; j < plan.n; ++j) Px[j] = Atz[j] = V{};
    for (Index i = 0; i < plan.n; ++i) {
      Index k = plan.P.indptr[i], end = plan.P.indptr[i + 1];
      if (k == end) continue;
      const V xi = x[i];
      V sum = V{}, other = V{};
      const bool diagonal = plan.P.indices[end - 1] == i;
      if (diagonal) sum = P[--end] * xi;
      for (; k + 1 < end; k += 2) {
        const Index j = plan.P.indices[k], l = plan.P.indices[k + 1];
        sum += P[k] * x[j];
        other += P[k + 1] * x[l];
        Px[j] += P[k] * xi;
        Px[l] += P[k + 1] * xi;
      }
      if (k < end) {
        sum += P[k] * x[plan.P.indices[k]];
        Px[plan.P.indices[k]] += P[k] * xi;
      }
      Px[i] += sum + other;
    }
    for_each_run(plan, plan.runs, A, [&](Index first, const auto& rows, auto count) {
      constexpr int R = decltype(count)::value;
      V sum[R]{}, t[R];
      for (int r = 0; r < R; ++r) t[r] = z[first + r];
      rows.dot_and_axpy(x, sum, t, Atz);
      for (int r = 0; r < R; ++r) Ax[first + r] = sum[r];
    });
  }
};

}  // namespace cvxl::CVXL_ISA
