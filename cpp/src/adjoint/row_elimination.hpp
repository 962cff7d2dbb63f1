#pragma once
// L U = the active rows of one instance: sparse elimination of one row against those before it, with column pivots. Rows of cones
// with a curved part, d > 0, have a column of their own, u_i, with the entry -√d_i: columns are n variables, then m of those.

#include <algorithm>
#include <cmath>
#include <utility>

#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

class RowElimination {
 public:
  struct Entry {
    Index index;
    double value;
  };

  double *A, *root;            // the rows, in the plan's pattern; √d
  Index rank = 0;
  Index *row, *column;         // of the k-th pivot
  Index* pivot_of;             // column → k, or -1

  RowElimination() = default;
  RowElimination(const PlanView& plan, Arena& arena)
      : A(arena.take<double>(plan.A.indices.size())), root(arena.take<double>(plan.m)), plan_(&plan), n_(plan.n), m_(plan.m) {
    const std::size_t n = static_cast<std::size_t>(n_), m = static_cast<std::size_t>(m_), N = n + m;
    for (Index** v : {&row, &column, &order_, &upper_begin_, &lower_begin_}) *v = arena.take<Index>(m + 1);
    for (Index** v : {&pivot_of, &touched_}) *v = arena.take<Index>(N + 2);
    mark_ = arena.take<bool>(N);
    work_ = arena.take<double>(N);
    coefficients_ = arena.take<double>(m);
    upper_ = arena.take<Entry>(m * (2 * n + 2));
    lower_ = arena.take<Entry>(m * (m + 1) / 2);
  }

  template <class F>
  void for_each_in_row(Index i, F&& f) const {
    for (Index k = plan_->A.indptr[i]; k < plan_->A.indptr[i + 1]; ++k)
      if (A[k] != 0.0) f(plan_->A.indices[k], A[k]);
    if (root[i] > 0.0) f(n_ + i, -root[i]);
  }

  // Eliminates the rows that are `wanted`, short ones first, those of which little is left after the others: a small pivot would
  // raise its rounding above what tells that a later row is dependent. Of one that depends on those before, `drop` gets the row and
  // its coefficients on the pivots' rows.
  template <class Wanted, class Curvature, class Drop>
  void factor(Wanted&& wanted, Curvature&& curvature, Drop&& drop) {
    Index count = sort_rows(wanted);
    std::fill(pivot_of, pivot_of + n_ + m_, -1);
    std::fill(mark_, mark_ + n_ + m_, false);
    std::fill(work_, work_ + n_ + m_, 0.0);
    rank = upper_begin_[0] = lower_begin_[0] = 0;
    for (const double enough : {clear, dependent}) {
      Index later = 0;
      for (Index k = 0; k < count; ++k) {
        touched_count_ = 0;
        const double least = order_[k] < plan_->orthant_end ? dependent : dependent_of_cones;
        if (const auto [left, size] = subtract_pivot_rows(order_[k]); left > std::max(enough, least) * size)
          add_pivot(order_[k], left, curvature);
        else if (left > least * size)
          order_[later++] = order_[k];
        else
          drop(order_[k], combination());
        for (Index t = 0; t < touched_count_; ++t) mark_[touched_[t]] = false, work_[touched_[t]] = 0.0;
      }
      count = later;
    }
  }

  // x: zero in columns without pivot, and the pivots' rows times x are t, which is overwritten.
  void solve(double* t, double* x) const {
    for (Index k = 0; k < rank; ++k)
      for (const Entry* l = lower_ + lower_begin_[k]; l < lower_ + lower_begin_[k + 1]; ++l) t[k] -= l->value * t[l->index];
    std::fill(x, x + n_ + m_, 0.0);
    for_each_pivot_backwards([&](Index k, const Entry& pivot, const Entry* begin, const Entry* end) {
      double sum = t[k];
      for (const Entry* u = begin; u < end; ++u) sum -= u->value * x[u->index];
      x[pivot.index] = sum / pivot.value;
    });
  }

  // t: the combination of the pivots' rows that is g in the pivots' columns. Overwrites g.
  void solve_transposed(double* g, double* t) const {
    for (Index k = 0; k < rank; ++k) {
      const Entry* pivot = upper_ + upper_begin_[k];
      t[k] = g[pivot->index] / pivot->value;
      for (const Entry* u = pivot + 1; u < upper_ + upper_begin_[k + 1]; ++u) g[u->index] -= u->value * t[k];
    }
    for (Index k = rank; k-- > 0;)
      for (const Entry* l = lower_ + lower_begin_[k]; l < lower_ + lower_begin_[k + 1]; ++l) t[l->index] -= l->value * t[k];
  }

  // f(k, pivot, other entries of its row of U), the last pivot first.
  template <class F>
  void for_each_pivot_backwards(F&& f) const {
    for (Index k = rank; k-- > 0;) f(k, upper_[upper_begin_[k]], upper_ + upper_begin_[k] + 1, upper_ + upper_begin_[k + 1]);
  }

 private:
  static constexpr double dependent = 1e-12;  // what may remain of the largest term of a row
  static constexpr double dependent_of_cones = 1e-9;  // the same where rows are in frames, which are as exact as the solution
  static constexpr double clear = 1e-3;       // what remains of one that is a pivot's at once

  template <class Wanted>
  Index sort_rows(Wanted&& wanted) {
    Index* place = touched_;  // length → where the next row of it goes
    std::fill(place, place + n_ + 2, 0);
    const auto length = [&](Index i) { return std::min<Index>(plan_->A.indptr[i + 1] - plan_->A.indptr[i] + (root[i] > 0.0), n_); };
    Index count = 0;
    for (Index i = 0; i < m_; ++i)
      if (wanted(i)) ++place[length(i) + 1];
    for (Index k = 0; k <= n_; ++k) place[k + 1] += place[k];
    for (Index i = 0; i < m_; ++i)
      if (wanted(i)) order_[place[length(i)]++] = i, ++count;
    return count;
  }

  void touch(Index j) {
    if (mark_[j]) return;
    mark_[j] = true;
    touched_[touched_count_++] = j;
  }

  // The row less its combination of pivot rows in `work_`, the coefficients behind the last row of L. Returns the largest entry
  // left, and the largest of its terms.
  std::pair<double, double> subtract_pivot_rows(Index i) {
    double size = 0.0;
    for_each_in_row(i, [&](Index j, double v) {
      touch(j);
      work_[j] = v;
      size = std::max(size, std::abs(v));
    });
    Index end = lower_begin_[rank];
    for (Index k = 0; k < rank; ++k) {
      if (work_[column[k]] == 0.0) continue;
      const Entry* u = upper_ + upper_begin_[k];
      const double factor = work_[column[k]] / u->value;
      work_[column[k]] = 0.0;
      lower_[end++] = {k, factor};
      for (const Entry* t = u + 1; t < upper_ + upper_begin_[k + 1]; ++t) {
        touch(t->index);
        const double term = factor * t->value;
        work_[t->index] -= term;
        size = std::max(size, std::abs(term));
      }
    }
    lower_begin_[rank + 1] = end;
    double left = 0.0;
    for (Index t = 0; t < touched_count_; ++t) left = std::max(left, std::abs(work_[touched_[t]]));
    return {left, size};
  }

  // The pivot: of the entries within half of the largest one, that of the column with least curvature. (Smaller ones let entries
  // grow.)
  template <class Curvature>
  void add_pivot(Index i, double left, Curvature&& curvature) {
    Index best = -1;
    for (Index t = 0; t < touched_count_; ++t) {
      const Index j = touched_[t];
      if (std::abs(work_[j]) < 0.5 * left) continue;
      if (best < 0 || curvature(j) < curvature(best) ||
          (curvature(j) == curvature(best) && std::abs(work_[j]) > std::abs(work_[best])))
        best = j;
    }
    Index end = upper_begin_[rank];
    upper_[end++] = {best, work_[best]};
    for (Index t = 0; t < touched_count_; ++t)
      if (touched_[t] != best && work_[touched_[t]] != 0.0) upper_[end++] = {touched_[t], work_[touched_[t]]};
    row[rank] = i;
    column[rank] = best;
    pivot_of[best] = rank;
    upper_begin_[++rank] = end;
  }

  // A_i = Σ l_k U_k with U_k = A_{row k} - Σ L_kj U_j: the coefficients of A_i on the pivots' rows.
  const double* combination() {
    double* c = coefficients_;
    std::fill(c, c + m_, 0.0);
    for (Index t = lower_begin_[rank]; t < lower_begin_[rank + 1]; ++t) c[lower_[t].index] = lower_[t].value;
    for (Index k = rank; k-- > 0;)
      if (c[k] != 0.0)
        for (Index t = lower_begin_[k]; t < lower_begin_[k + 1]; ++t) c[lower_[t].index] -= lower_[t].value * c[k];
    return c;
  }

  const PlanView* plan_ = nullptr;
  Index n_ = 0, m_ = 0, touched_count_ = 0;
  Index *order_, *touched_, *upper_begin_, *lower_begin_;
  bool* mark_;
  double *work_, *coefficients_;
  Entry *upper_, *lower_;      // U with the pivot first, L without its diagonal, by rows
};

}  // namespace cvxl::CVXL_ISA
