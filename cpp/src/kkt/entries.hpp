#pragma once
// Passes over the entries of P and A that write to columns, which rows share: a single thread goes by rows, which is how they lie; a
// team gives each column to a thread. A column meets its entries in one order, so that sums are the same.

#include "lanes/team.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

// f(j, i, k) for entry k of the symmetric P, in row i of column j, of either triangle: writes what is column j's.
template <class V, class F>
CVXL_INLINE void each_entry_of_P(const PlanView& plan, F&& f) {
  if constexpr (Team<V>::alone) {
    for (Index i = 0; i < plan.n; ++i)
      for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
        const Index j = plan.P.indices[k];
        f(i, j, k);
        if (i != j) f(j, i, k);
      }
  } else {
    each<V>(plan.n, [&](Index j) {
      for (Index k = plan.P.indptr[j]; k < plan.P.indptr[j + 1]; ++k) f(j, plan.P.indices[k], k);
      for (Index t = plan.P_columns.begin[j]; t < plan.P_columns.begin[j + 1]; ++t)
        f(j, plan.P_columns.row[t], plan.P_columns.entry[t]);
    });
  }
}

// The same of A; and row(i) for each of its rows, which writes what is row i's. Neither reads what the other writes.
template <class V, class Row, class F>
CVXL_INLINE void each_row_and_entry_of_A(const PlanView& plan, Row&& row, F&& f) {
  if constexpr (Team<V>::alone) {
    for (Index i = 0; i < plan.m; ++i) {
      row(i);
      for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) f(plan.A.indices[k], i, k);
    }
  } else {
    each<V>(plan.m, row);
    each<V>(plan.n, [&](Index j) {
      for (Index t = plan.A_columns.begin[j]; t < plan.A_columns.begin[j + 1]; ++t)
        f(j, plan.A_columns.row[t], plan.A_columns.entry[t]);
    });
  }
}

template <class V, class F>
CVXL_INLINE void each_entry_of_A(const PlanView& plan, F&& f) {
  each_row_and_entry_of_A<V>(plan, [](Index) {}, f);
}

}  // namespace cvxl::CVXL_ISA
