#pragma once
// Products with P and A by a team: each of their entries is one thread's sum.

#include "lanes/team.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

// Σ over entries [begin, end) of A by rows, times x.
template <class V>
CVXL_INLINE V dot_row(const PatternView& pattern, const V* entries, Index row, const V* x) {
  V sum = V{};
  for (Index k = pattern.indptr[row]; k < pattern.indptr[row + 1]; ++k) sum += entries[k] * x[pattern.indices[k]];
  return sum;
}

// The same of a column, whose entries are told by their numbers.
template <class V>
CVXL_INLINE V dot_column(const ColumnView& columns, const V* entries, Index column, const V* z) {
  V sum = V{};
  for (Index t = columns.begin[column]; t < columns.begin[column + 1]; ++t) sum += entries[columns.entry[t]] * z[columns.row[t]];
  return sum;
}

// Px = P x, Ax = A x, Atz = A'z.
template <class V>
CVXL_SEAM void team_products(const PlanView& plan, const V* P, const V* A, const V* x, const V* z, V* Px, V* Ax, V* Atz) {
  share<V>(plan.n, [&](Index j) {
    Px[j] = dot_row(plan.P, P, j, x) + dot_column(plan.P_columns, P, j, x);
    Atz[j] = dot_column(plan.A_columns, A, j, z);
  });
  share<V>(plan.m, [&](Index i) { Ax[i] = dot_row(plan.A, A, i, x); });
  wait<V>();
}

}  // namespace cvxl::CVXL_ISA
