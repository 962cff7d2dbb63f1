#pragma once
// The Hessian Z'QZ of one instance on the null space of its active rows, Q = P on variables and 1 on the columns u of curved rows,
// factored with pivots that are chosen by what cancellation has left of their terms. Directions without curvature beyond rounding
// are `flat`.

#include <algorithm>
#include <cmath>
#include <utility>

#include "adjoint/orthonormal.hpp"
#include "adjoint/row_elimination.hpp"

namespace cvxl::CVXL_ISA {

class ReducedHessian {
 public:
  double* P;         // in the plan's pattern
  Index size = 0;    // dimension of the null space
  Orthonormal flat;  // directions of x

  ReducedHessian() = default;
  ReducedHessian(const PlanView& plan, Arena& arena)
      : P(arena.take<double>(plan.P.indices.size())), flat(plan.n, plan.n, arena), plan_(&plan), n_(plan.n), N_(plan.n + plan.m) {
    const std::size_t n = static_cast<std::size_t>(n_), N = static_cast<std::size_t>(N_);
    for (double** v : {&terms_, &step_}) *v = arena.take<double>(n);
    permutation_ = arena.take<Index>(n);
    nonzero_ = arena.take<bool>(N);
    for (double** v : {&Z_, &QZ_}) *v = arena.take<double>(N * n);
    H_ = arena.take<double>(n * n);
  }

  template <class F>
  void for_each_P(F&& f) const {
    for (Index i = 0; i < n_; ++i)
      for (Index k = plan_->P.indptr[i]; k < plan_->P.indptr[i + 1]; ++k) f(i, plan_->P.indices[k], P[k]);
  }

  // `used(j)`: whether the column of u exists.
  template <class Used>
  void factor(const RowElimination& rows, Used&& used) {
    form_null_space(rows, used);
    multiply();
    for (rank_ = 0; rank_ < size && take_pivot(rank_);) ++rank_;
    flat.count = 0;
    for (Index k = rank_; k < size; ++k) flat.append([&](double* v) { flat_vector(k, v); });
  }

  // x += Z w with Z'QZ w = Z'g on the part that has curvature.
  void step(const double* g, double* x) {
    double* w = step_;
    std::fill(w, w + rank_, 0.0);
    for_each_column([&](Index j) {
      for (Index a = 0; a < rank_; ++a) w[a] += Z(j)[permutation_[a]] * g[j];
    });
    for (Index a = 0; a < rank_; ++a) {
      for (Index b = 0; b < a; ++b) w[a] -= H(a, b) * w[b];
      w[a] /= H(a, a);
    }
    back_substitute(w);
    for_each_column([&](Index j) {
      for (Index a = 0; a < rank_; ++a) x[j] += Z(j)[permutation_[a]] * w[a];
    });
  }

 private:
  static constexpr double without_curvature = 1e-13;  // of the terms of a pivot

  double* Z(Index column) { return Z_ + static_cast<std::size_t>(column) * n_; }
  double* QZ(Index column) { return QZ_ + static_cast<std::size_t>(column) * n_; }
  double& H(Index i, Index j) { return H_[static_cast<std::size_t>(i) * n_ + j]; }

  template <class F>
  void for_each_column(F&& f) const {
    for (Index j = 0; j < N_; ++j)
      if (nonzero_[j]) f(j);
  }

  // Z: 1 at its own column without pivot, and what the pivots' rows make of it in theirs.
  template <class Used>
  void form_null_space(const RowElimination& rows, Used&& used) {
    size = 0;
    for (Index j = 0; j < N_; ++j) {
      nonzero_[j] = false;
      if (j >= n_ && !used(j - n_)) continue;
      std::fill(Z(j), Z(j) + n_, 0.0);
      if (rows.pivot_of[j] >= 0) continue;
      Z(j)[size++] = 1.0;
      nonzero_[j] = true;
    }
    rows.for_each_pivot_backwards([&](Index, const RowElimination::Entry& pivot, const auto* begin, const auto* end) {
      double* target = Z(pivot.index);
      for (const auto* u = begin; u < end; ++u) {
        if (!nonzero_[u->index]) continue;
        const double factor = u->value / pivot.value;
        for (Index f = 0; f < size; ++f) target[f] -= factor * Z(u->index)[f];
        nonzero_[pivot.index] = true;
      }
    });
  }

  // QZ where Z is, and the lower triangle of Z'QZ with the sizes of the terms on its diagonal.
  void multiply() {
    std::fill(terms_, terms_ + size, 0.0);
    for_each_column([&](Index j) {
      const double unit = j < n_ ? 0.0 : 1.0;
      for (Index k = 0; k < size; ++k) {
        QZ(j)[k] = unit * Z(j)[k];
        terms_[k] += unit * Z(j)[k] * Z(j)[k];
      }
    });
    for_each_P([&](Index i, Index j, double v) {
      if (!nonzero_[i] || !nonzero_[j]) return;
      for (Index k = 0; k < size; ++k) {
        QZ(i)[k] += v * Z(j)[k];
        if (i != j) QZ(j)[k] += v * Z(i)[k];
        terms_[k] += (i == j ? 1.0 : 2.0) * std::abs(v * Z(i)[k] * Z(j)[k]);
      }
    });
    for (Index a = 0; a < size; ++a) {
      std::fill(&H(a, 0), &H(a, 0) + size, 0.0);
      permutation_[a] = a;
    }
    for_each_column([&](Index j) {
      for (Index a = 0; a < size; ++a)
        if (const double v = Z(j)[a]; v != 0.0)
          for (Index b = 0; b <= a; ++b) H(a, b) += v * QZ(j)[b];
    });
  }

  // One column of the Cholesky factor, in the lower triangle of H; false if no pivot is left.
  bool take_pivot(Index k) {
    Index best = k;
    double most = -1.0;
    for (Index a = k; a < size; ++a) {
      const double share = H(a, a) / std::max(terms_[permutation_[a]], 1e-300);
      if (share > most) best = a, most = share;
    }
    if (!(most > without_curvature)) return false;
    if (best != k) exchange(k, best);
    const double pivot = std::sqrt(H(k, k));
    H(k, k) = pivot;
    for (Index a = k + 1; a < size; ++a) H(a, k) /= pivot;
    for (Index a = k + 1; a < size; ++a)
      if (const double v = H(a, k); v != 0.0)
        for (Index b = k + 1; b <= a; ++b) H(a, b) -= v * H(b, k);
    return true;
  }

  // Rows and columns k < l of a symmetric matrix of which the lower triangle is kept.
  void exchange(Index k, Index l) {
    std::swap(permutation_[k], permutation_[l]);
    for (Index c = 0; c < k; ++c) std::swap(H(k, c), H(l, c));
    for (Index c = k + 1; c < l; ++c) std::swap(H(c, k), H(l, c));
    for (Index a = l + 1; a < size; ++a) std::swap(H(a, k), H(a, l));
    std::swap(H(k, k), H(l, l));
  }

  void back_substitute(double* w) {
    for (Index a = rank_; a-- > 0;) {
      for (Index b = a + 1; b < rank_; ++b) w[a] -= H(b, a) * w[b];
      w[a] /= H(a, a);
    }
  }

  // Z w for the direction w without curvature that the k-th column leads.
  void flat_vector(Index k, double* v) {
    double* w = step_;
    for (Index a = 0; a < rank_; ++a) w[a] = -H(k, a);
    back_substitute(w);
    for (Index j = 0; j < n_; ++j) {
      v[j] = 0.0;
      if (!nonzero_[j]) continue;
      v[j] = Z(j)[permutation_[k]];
      for (Index a = 0; a < rank_; ++a) v[j] += Z(j)[permutation_[a]] * w[a];
    }
  }

  const PlanView* plan_ = nullptr;
  Index n_ = 0, N_ = 0, rank_ = 0;
  double *terms_, *step_;
  Index* permutation_;
  bool* nonzero_;  // per column: whether Z has an entry there
  double *Z_, *QZ_, *H_;
};

}  // namespace cvxl::CVXL_ISA
