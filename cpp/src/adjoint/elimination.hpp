#pragma once
// The system of the derivative of one instance, solved by elimination with pivots where its rank is in doubt.
//
// With D = diag(d), E² = I - D and u = √D ζ, the bounded system of adjoint.hpp are the optimality conditions of
//
//     minimize ½ a'P a + ½ u'u - r1'a   subject to   e_i A_i a - √d_i u_i = e_i r2_i   for every row with e_i ≠ 0,
//
// with multipliers ζ, y = E ζ. It is solved by the null-space method: rows are eliminated one by one, each against those before it,
// with the pivot in a column of small curvature among the large entries, so that large penalties stay apart from small ones; then
// the Hessian Z'QZ on their null space is factored, pivots chosen relative to the terms that they are sums of. What is zero is
// decided by what rounding leaves of those terms, not by a size: a row depends on others where its remainder is below 1e-12 of what
// was subtracted, a direction is flat where its curvature is below 1e-13 of its terms. Refinement with residuals in twice the
// precision makes the result exact to rounding for condition numbers up to 1e14.
//
// Where rows are dependent, multipliers.hpp chooses which of them are followed. Equalities that depend on equalities alone, and
// directions in which the solution is not unique, get the pseudoinverse: the right-hand side is projected, and so is the result.

#include <algorithm>
#include <cmath>

#include "adjoint/compensated.hpp"
#include "adjoint/multipliers.hpp"
#include "adjoint/reduced_hessian.hpp"
#include "adjoint/row_elimination.hpp"

namespace cvxl::CVXL_ISA {

class Elimination {
 public:
  // Of a row. `curved`: the multiplier belongs to a cone of more dimensions, in which it cannot be moved freely.
  enum Kind : std::uint8_t { off, equality, inequality, curved };

  // What is eliminated, in the plan's patterns: filled by the caller, rows of A multiplied by e.
  double *P, *A, *e, *root, *z;  // root = √d; z the multipliers of inequalities
  Kind* kind;
  double *r1, *r2;               // of `solve`

  Elimination() = default;
  Elimination(const PlanView& plan, Arena& arena)
      : e(arena.take<double>(plan.m)),
        kind(arena.take<Kind>(plan.m)),
        n_(plan.n),
        m_(plan.m),
        rows_(plan, arena),
        hessian_(plan, arena),
        multipliers_(plan.m, arena),
        ties_(plan.m, plan.m, arena) {
    P = hessian_.P;
    A = rows_.A;
    root = rows_.root;
    z = multipliers_.z;
    const std::size_t n = static_cast<std::size_t>(n_), m = static_cast<std::size_t>(m_);
    for (double** v : {&x_, &dx_, &right_, &g_}) *v = arena.take<double>(n + m);
    for (double** v : {&r2, &zeta_, &dzeta_}) *v = arena.take<double>(m);
    for (double** v : {&r1, &diagonal_}) *v = arena.take<double>(n);
    sums_ = arena.take<Sum>(n);
    chosen_ = arena.take<bool>(m);
  }

  void factor() {
    std::fill(diagonal_, diagonal_ + n_, 0.0);
    hessian_.for_each_P([&](Index i, Index j, double v) {
      if (i == j) diagonal_[i] = v;
    });
    const auto curvature = [&](Index column) { return column < n_ ? diagonal_[column] : 1.0; };
    multipliers_.dropped = ties_.count = 0;
    rows_.factor([&](Index i) { return kind[i] != off; }, curvature,
                 [&](Index i, const double* c) { multipliers_.add_dependent(i, c); });
    if (multipliers_.dropped > 0) {
      multipliers_.rank = rows_.rank;
      std::copy(rows_.row, rows_.row + rows_.rank, multipliers_.basic);
      for (Index i = 0; i < m_; ++i) multipliers_.signed_[i] = kind[i] == inequality;
      if (multipliers_.analyse()) {
        std::fill(chosen_, chosen_ + m_, false);
        for (Index b = 0; b < multipliers_.rank; ++b) chosen_[multipliers_.basic[b]] = true;
        rows_.factor([&](Index i) { return chosen_[i]; }, curvature, [](Index, const double*) {});
      }
      multipliers_.doubt([&](Index i) { return kind[i] == curved; });
      for (Index d = 0; d < multipliers_.dropped; ++d)
        if (multipliers_.is_free(d)) ties_.append([&](double* v) { multipliers_.direction(d, v, m_); });
    }
    hessian_.factor(rows_, [&](Index i) { return kind[i] != off && root[i] > 0.0; });
  }

  void clear() {
    std::fill(r1, r1 + n_, 0.0);
    std::fill(r2, r2 + m_, 0.0);
  }

  // (r1, r2) → (a, y) in their place; rows that are off count as zero. Returns false where the right-hand side moves what is not
  // determined.
  bool solve() {
    for (Index i = 0; i < m_; ++i) r2[i] = kind[i] == off ? 0.0 : e[i] * r2[i];
    bool consistent = hessian_.flat.project(r1, consistent_to);
    consistent &= ties_.project(r2, consistent_to);
    consistent &= multipliers_.dropped == 0 || multipliers_.agree(r2, consistent_to);
    refine();
    std::copy(x_, x_ + n_, r1);
    std::copy(zeta_, zeta_ + m_, r2);
    hessian_.flat.project(r1);
    ties_.project(r2);
    double largest = 0.0, uncertain = 0.0;
    for (Index i = 0; i < m_; ++i) {
      largest = std::max(largest, std::abs(r2[i]));
      if (kind[i] == off) continue;
      if (multipliers_.dropped > 0 && multipliers_.vanishes[i]) uncertain = std::max(uncertain, std::abs(r2[i]));
      r2[i] *= e[i];
    }
    leans_ = uncertain > 1e-10 * largest;
    return consistent;
  }

  // Whether the last y uses rows that the solution follows in some directions of change only.
  bool leans() const { return leans_; }

  // What is not determined: directions that may be added to a, and to y with other multipliers.
  Index free_directions() const { return hessian_.size; }
  Index flat_directions() const { return hessian_.flat.count; }
  const double* flat_direction(Index k) const { return hessian_.flat[k]; }
  Index choices() const { return multipliers_.dropped; }
  // The k-th such direction of y; false where equalities alone depend on each other, which no perturbation that stays feasible
  // sees.
  bool choice(Index k, double* y) const {
    multipliers_.direction(k, y, m_);
    bool fixed = true;
    for (Index i = 0; i < m_; ++i) {
      fixed &= y[i] == 0.0 || kind[i] == equality;
      y[i] = kind[i] == off ? 0.0 : e[i] * y[i];
    }
    return !fixed;
  }

 private:
  static constexpr double consistent_to = 1e-7;
  static constexpr int refinements = 10;

  // (x, ζ) from zero, until neither improves.
  void refine() {
    std::fill(x_, x_ + n_ + m_, 0.0);
    std::fill(zeta_, zeta_ + m_, 0.0);
    double before[2] = {HUGE_VAL, HUGE_VAL};
    for (int pass = 0; pass < refinements; ++pass) {
      form_residual();
      correct();
      double now[2] = {};
      for (Index j = 0; j < n_; ++j) now[0] = std::max(now[0], std::abs(dx_[j]));
      for (Index k = 0; k < rows_.rank; ++k) now[1] = std::max(now[1], std::abs(dzeta_[k]));
      if (!(now[0] < 0.5 * before[0]) && !(now[1] < 0.5 * before[1])) break;
      for (Index j = 0; j < n_ + m_; ++j) x_[j] += dx_[j];
      for (Index k = 0; k < rows_.rank; ++k) zeta_[rows_.row[k]] += dzeta_[k];
      std::copy(now, now + 2, before);
    }
  }

  // In place of (dx, dζ) the residuals of (x, ζ), in twice the precision.
  void form_residual() {
    for (Index j = 0; j < n_; ++j) sums_[j] = {r1[j], 0.0};
    hessian_.for_each_P([&](Index i, Index j, double v) {
      sums_[i].add(-v, x_[j]);
      if (i != j) sums_[j].add(-v, x_[i]);
    });
    std::fill(dx_ + n_, dx_ + n_ + m_, 0.0);
    for (Index k = 0; k < rows_.rank; ++k) {
      const Index i = rows_.row[k];
      Sum row{r2[i], 0.0};
      rows_.for_each_in_row(i, [&](Index j, double v) {
        row.add(-v, x_[j]);
        if (j < n_) {
          sums_[j].add(-v, zeta_[i]);
        } else {
          Sum own{-x_[j], 0.0};
          own.add(-v, zeta_[i]);
          dx_[j] = own.rounded();
        }
      });
      dzeta_[k] = row.rounded();
    }
    for (Index j = 0; j < n_; ++j) dx_[j] = sums_[j].rounded();
  }

  // (dx, dζ) ← the solution for them as right-hand sides: a point on the rows, a step along them, their multipliers.
  void correct() {
    std::copy(dx_, dx_ + n_ + m_, right_);
    rows_.solve(dzeta_, dx_);
    subtract_curvature();
    hessian_.step(g_, dx_);
    subtract_curvature();
    rows_.solve_transposed(g_, dzeta_);
  }

  // g = the right-hand side - Q dx
  void subtract_curvature() {
    for (Index j = 0; j < n_ + m_; ++j) g_[j] = right_[j] - (j < n_ ? 0.0 : dx_[j]);
    hessian_.for_each_P([&](Index i, Index j, double v) {
      g_[i] -= v * dx_[j];
      if (i != j) g_[j] -= v * dx_[i];
    });
  }

  Index n_ = 0, m_ = 0;
  RowElimination rows_;
  ReducedHessian hessian_;
  Multipliers multipliers_;
  Orthonormal ties_;          // of equalities among themselves
  bool leans_ = false;
  double *x_, *dx_, *right_, *g_;  // per column: of x, then of u
  double *zeta_, *dzeta_;     // per row; per pivot
  double* diagonal_;          // of P
  Sum* sums_;
  bool* chosen_;              // per row: in B
};

}  // namespace cvxl::CVXL_ISA
