#pragma once
// The system of the derivative of one instance, solved by elimination with pivots where its rank is in doubt.
//
// With D = diag(d), E² = I - D and u = √D ζ, the bounded system of adjoint.hpp are the optimality conditions of
//
//     minimize ½ a'P a + ½ u'u - r1'a   subject to   e_i A_i a - √d_i u_i = e_i r2_i   for every row with e_i ≠ 0,
//
// with multipliers ζ, y = E ζ. It is solved by the null-space method: rows are eliminated one by one, each against those before it,
// with the pivot in a column of small curvature among the large entries, so that large penalties stay apart from small ones; then the
// Hessian Z'QZ on their null space is factored, pivots chosen relative to the terms that they are sums of. What is zero is decided by
// what rounding leaves of those terms, not by a size: a row depends on others where its remainder is below 1e-12 of what was
// subtracted, a direction is flat where its curvature is below 1e-13 of its terms. Refinement with residuals in twice the precision
// makes the result exact to rounding for condition numbers up to 1e14.
//
// Where rows are dependent, multipliers.hpp chooses which of them are followed. Equalities that depend on equalities alone, and
// directions in which the solution is not unique, get the pseudoinverse: the right-hand side is projected, and so is the result.

#include <algorithm>
#include <cmath>

#include "adjoint/compensated.hpp"
#include "adjoint/multipliers.hpp"
#include "kkt/symbolic.hpp"
#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"

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
  Elimination(const Plan& plan, Arena& arena)
      : P(arena.take<double>(plan.P.indices.size())),
        A(arena.take<double>(plan.A.indices.size())),
        e(arena.take<double>(plan.m)),
        root(arena.take<double>(plan.m)),
        kind(arena.take<Kind>(plan.m)),
        plan_(&plan),
        n_(plan.n),
        m_(plan.m),
        multipliers_(plan.m, arena) {
    const std::size_t n = static_cast<std::size_t>(n_), m = static_cast<std::size_t>(m_), N = n + m;
    z = multipliers_.z;
    for (double** v : {&work_, &x_, &dx_}) *v = arena.take<double>(N);
    for (double** v : {&r1, &diagonal_, &step_, &terms_}) *v = arena.take<double>(n);
    for (double** v : {&r2, &zeta_, &dzeta_}) *v = arena.take<double>(m);
    sums_ = arena.take<Sum>(n);
    for (Index** v : {&touched_, &pivot_of_}) *v = arena.take<Index>(N + 2);
    for (Index** v : {&order_, &row_, &column_, &upper_begin_, &lower_begin_}) *v = arena.take<Index>(m + 1);
    for (Index** v : {&free_, &permutation_}) *v = arena.take<Index>(n);
    for (bool** v : {&mark_, &nonzero_}) *v = arena.take<bool>(N);
    upper_ = arena.take<Entry>(m * (2 * n + 2));
    lower_ = arena.take<Entry>(m * (m + 1) / 2);
    for (double** v : {&Z_, &QZ_}) *v = arena.take<double>(N * n);
    for (double** v : {&H_, &flat_}) *v = arena.take<double>(n * n);
    ties_ = arena.take<double>(m * m);
  }

  void factor() {
    std::fill(diagonal_, diagonal_ + n_, 0.0);
    for_each_P([&](Index i, Index j, double v) {
      if (i == j) diagonal_[i] = v;
    });
    multipliers_.rank = multipliers_.dropped = ties_count_ = 0;
    eliminate_rows(sort_rows([&](Index i) { return kind[i] != off; }), true);
    if (multipliers_.dropped > 0) {
      choose_multipliers();
      for (Index d = 0; d < multipliers_.dropped; ++d)
        if (multipliers_.is_free(d)) append(ties_, ties_count_, m_, [&](double* v) { choice(d, v, false); });
    }
    form_null_space();
    factor_hessian();
  }

  // (r1, r2) → (a, y) in their place; rows that are off count as zero. Returns false where the right-hand side moves what is not determined.
  bool solve() {
    for (Index i = 0; i < m_; ++i) r2[i] = kind[i] == off ? 0.0 : e[i] * r2[i];
    bool consistent = project(flat_, flat_count_, n_, r1);
    consistent &= project(ties_, ties_count_, m_, r2);
    consistent &= dependent_rows_agree();
    std::fill(x_, x_ + n_ + m_, 0.0);
    std::fill(zeta_, zeta_ + m_, 0.0);
    Change before{HUGE_VAL, HUGE_VAL};
    for (int pass = 0; pass < refinements; ++pass) {
      form_residual();
      correct();
      const Change now = change();
      if (!(now.x < 0.5 * before.x) && !(now.zeta < 0.5 * before.zeta)) break;
      for (Index j = 0; j < n_ + m_; ++j) x_[j] += dx_[j];
      for (Index k = 0; k < rank_; ++k) zeta_[row_[k]] += dzeta_[k];
      before = now;
    }
    std::copy(x_, x_ + n_, r1);
    std::copy(zeta_, zeta_ + m_, r2);
    project(flat_, flat_count_, n_, r1);
    project(ties_, ties_count_, m_, r2);
    double largest = 0.0, uncertain = 0.0;
    for (Index i = 0; i < m_; ++i) {
      largest = std::max(largest, std::abs(r2[i]));
      if (kind[i] == off) continue;
      if (multipliers_.dropped > 0 && multipliers_.vanishes[i]) uncertain = std::max(uncertain, std::abs(r2[i]));
      r2[i] *= e[i];
    }
    leans_ = uncertain > small * largest;
    return consistent;
  }

  // Whether the last y uses rows that the solution follows in some directions of change only.
  bool leans() const { return leans_; }

  // What is not determined: directions that may be added to a, and to y with other multipliers.
  Index free_directions() const { return free_count_; }
  Index flat_directions() const { return flat_count_; }
  const double* flat_direction(Index k) const { return flat_ + static_cast<std::size_t>(k) * n_; }
  Index choices() const { return multipliers_.dropped; }
  // The k-th such direction of y; false where equalities alone depend on each other, which no perturbation that stays feasible sees.
  bool choice(Index k, double* y) const { return choice(k, y, true); }

 private:
  struct Entry {
    Index index;
    double value;
  };
  static constexpr double dependent = 1e-12, flat = 1e-13, small = 1e-10, consistent_to = 1e-7;
  static constexpr int refinements = 10;

  double curvature(Index column) const { return column < n_ ? diagonal_[column] : 1.0; }
  double* Z(Index column) { return Z_ + static_cast<std::size_t>(column) * n_; }
  double* QZ(Index column) { return QZ_ + static_cast<std::size_t>(column) * n_; }
  double& H(Index i, Index j) { return H_[static_cast<std::size_t>(i) * n_ + j]; }

  template <class F>
  void for_each_P(F&& f) const {
    for (Index i = 0; i < n_; ++i)
      for (Index k = plan_->P.indptr[i]; k < plan_->P.indptr[i + 1]; ++k) f(i, plan_->P.indices[k], P[k]);
  }
  // Entries of row i, that of u included.
  template <class F>
  void for_each_in_row(Index i, F&& f) const {
    for (Index k = plan_->A.indptr[i]; k < plan_->A.indptr[i + 1]; ++k)
      if (A[k] != 0.0) f(plan_->A.indices[k], A[k]);
    if (root[i] > 0.0) f(n_ + i, -root[i]);
  }

  bool choice(Index k, double* y, bool scaled) const {
    const Index row = multipliers_.dependent[k];
    bool fixed = kind[row] == equality;
    std::fill(y, y + m_, 0.0);
    y[row] = scaled ? e[row] : 1.0;
    for (Index b = 0; b < multipliers_.rank; ++b) {
      const Index i = multipliers_.basic[b];
      if (std::abs(multipliers_.at(k, b)) <= small) continue;
      y[i] = -multipliers_.at(k, b) * (scaled ? e[i] : 1.0);
      fixed &= kind[i] == equality;
    }
    return !fixed;
  }

  // ---- rows: L U = A_B -----------------------------------------------------------------------------------------------------------

  // The rows that are wanted, short ones first, into `order_`; returns their number.
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

  // Eliminates the first rows of `order_`; those that depend on the ones before go to D if they are to be kept.
  void eliminate_rows(Index count, bool keep) {
    std::fill(pivot_of_, pivot_of_ + n_ + m_, -1);
    std::fill(mark_, mark_ + n_ + m_, false);
    std::fill(work_, work_ + n_ + m_, 0.0);
    rank_ = upper_begin_[0] = lower_begin_[0] = 0;
    for (Index k = 0; k < count; ++k) {
      const Index row = order_[k];
      touched_count_ = 0;
      if (subtract_pivot_rows(row)) {
        add_pivot(row);
        if (keep) multipliers_.basic[multipliers_.rank++] = row;
      } else if (keep) {
        add_dependent(row);
      }
      for (Index t = 0; t < touched_count_; ++t) mark_[touched_[t]] = false, work_[touched_[t]] = 0.0;
    }
  }

  void touch(Index column) {
    if (mark_[column]) return;
    mark_[column] = true;
    touched_[touched_count_++] = column;
  }

  // The row less its combination of pivot rows in `work_`, the coefficients in the last row of L; whether anything is left.
  bool subtract_pivot_rows(Index row) {
    double size = 0.0;
    for_each_in_row(row, [&](Index j, double v) {
      touch(j);
      work_[j] = v;
      size = std::max(size, std::abs(v));
    });
    Index end = lower_begin_[rank_];
    for (Index k = 0; k < rank_; ++k) {
      if (work_[column_[k]] == 0.0) continue;
      const Entry* u = upper_ + upper_begin_[k];
      const double factor = work_[column_[k]] / u->value;
      work_[column_[k]] = 0.0;
      lower_[end++] = {k, factor};
      for (const Entry* t = u + 1; t < upper_ + upper_begin_[k + 1]; ++t) {
        touch(t->index);
        const double term = factor * t->value;
        work_[t->index] -= term;
        size = std::max(size, std::abs(term));
      }
    }
    lower_begin_[rank_ + 1] = end;
    double left = 0.0;
    for (Index t = 0; t < touched_count_; ++t) left = std::max(left, std::abs(work_[touched_[t]]));
    left_ = left;
    return left > dependent * size;
  }

  // The pivot: of the entries within half of the largest one, that of the column with least curvature. (Smaller ones let entries grow.)
  void add_pivot(Index row) {
    Index best = -1;
    for (Index t = 0; t < touched_count_; ++t) {
      const Index j = touched_[t];
      if (std::abs(work_[j]) < 0.5 * left_) continue;
      if (best < 0 || curvature(j) < curvature(best) || (curvature(j) == curvature(best) && std::abs(work_[j]) > std::abs(work_[best]))) best = j;
    }
    Index end = upper_begin_[rank_];
    upper_[end++] = {best, work_[best]};
    for (Index t = 0; t < touched_count_; ++t)
      if (touched_[t] != best && work_[touched_[t]] != 0.0) upper_[end++] = {touched_[t], work_[touched_[t]]};
    row_[rank_] = row;
    column_[rank_] = best;
    pivot_of_[best] = rank_;
    upper_begin_[++rank_] = end;
  }

  // A_row = Σ l_k U_k, U_k = A_{B_k} - Σ L_kj U_j: its coefficients on the rows of B.
  void add_dependent(Index row) {
    double* c = &multipliers_.at(multipliers_.dropped, 0);
    std::fill(c, c + multipliers_.stride, 0.0);
    for (Index t = lower_begin_[rank_]; t < lower_begin_[rank_ + 1]; ++t) c[lower_[t].index] = lower_[t].value;
    for (Index k = rank_; k-- > 0;)
      if (c[k] != 0.0)
        for (Index t = lower_begin_[k]; t < lower_begin_[k + 1]; ++t) c[lower_[t].index] -= lower_[t].value * c[k];
    multipliers_.dependent[multipliers_.dropped++] = row;
  }

  void choose_multipliers() {
    for (Index i = 0; i < m_; ++i) multipliers_.signed_[i] = kind[i] == inequality;
    if (multipliers_.analyse()) {
      std::fill(mark_, mark_ + m_, false);
      for (Index b = 0; b < multipliers_.rank; ++b) mark_[multipliers_.basic[b]] = true;
      eliminate_rows(sort_rows([&](Index i) { return mark_[i]; }), false);
    }
    for (Index d = 0; d < multipliers_.dropped; ++d) {
      if (kind[multipliers_.dependent[d]] == curved) multipliers_.vanishes[multipliers_.dependent[d]] = true;
      for (Index b = 0; b < multipliers_.rank; ++b)
        if (kind[multipliers_.basic[b]] == curved && std::abs(multipliers_.at(d, b)) > small) multipliers_.vanishes[multipliers_.basic[b]] = true;
    }
  }

  // ---- their null space, and the Hessian on it -------------------------------------------------------------------------------

  // Z: 1 at its own free column, and what the pivot rows make of it in theirs.
  void form_null_space() {
    free_count_ = 0;
    const auto clear = [&](Index column) {
      std::fill(Z(column), Z(column) + n_, 0.0);
      nonzero_[column] = false;
    };
    const auto take_free = [&](Index column) {
      clear(column);
      if (pivot_of_[column] >= 0) return;
      Z(column)[free_count_] = 1.0;
      nonzero_[column] = true;
      free_[free_count_++] = column;
    };
    for (Index j = 0; j < n_; ++j) take_free(j);
    for (Index i = 0; i < m_; ++i)
      if (kind[i] != off && root[i] > 0.0) take_free(n_ + i);
    for (Index k = rank_; k-- > 0;) {
      const Entry* pivot = upper_ + upper_begin_[k];
      double* z_row = Z(pivot->index);
      for (const Entry* t = pivot + 1; t < upper_ + upper_begin_[k + 1]; ++t) {
        if (!nonzero_[t->index]) continue;
        const double factor = t->value / pivot->value;
        const double* other = Z(t->index);
        for (Index f = 0; f < free_count_; ++f) z_row[f] -= factor * other[f];
        nonzero_[pivot->index] = true;
      }
    }
  }

  template <class F>
  void for_each_nonzero_column(F&& f) const {
    for (Index j = 0; j < n_; ++j)
      if (nonzero_[j]) f(j);
    for (Index i = 0; i < m_; ++i)
      if (kind[i] != off && root[i] > 0.0 && nonzero_[n_ + i]) f(n_ + i);
  }

  // H = Z'QZ = R'R with pivots; what has no curvature beyond rounding gives the flat directions.
  void factor_hessian() {
    const Index f = free_count_;
    flat_count_ = 0;
    std::fill(terms_, terms_ + f, 0.0);
    for_each_nonzero_column([&](Index j) {
      const double unit = j < n_ ? 0.0 : 1.0;
      for (Index k = 0; k < f; ++k) {
        QZ(j)[k] = unit * Z(j)[k];
        terms_[k] += unit * Z(j)[k] * Z(j)[k];
      }
    });
    for_each_P([&](Index i, Index j, double v) {
      if (!nonzero_[i] || !nonzero_[j]) return;
      const double *zi = Z(i), *zj = Z(j);
      for (Index k = 0; k < f; ++k) {
        QZ(i)[k] += v * zj[k];
        if (i != j) QZ(j)[k] += v * zi[k];
        terms_[k] += (i == j ? 1.0 : 2.0) * std::abs(v * zi[k] * zj[k]);
      }
    });
    for (Index a = 0; a < f; ++a) {
      std::fill(&H(a, 0), &H(a, 0) + f, 0.0);
      permutation_[a] = a;
    }
    for_each_nonzero_column([&](Index j) {
      for (Index a = 0; a < f; ++a)
        if (const double v = Z(j)[a]; v != 0.0)
          for (Index b = 0; b <= a; ++b) H(a, b) += v * QZ(j)[b];
    });
    for (curved_ = 0; curved_ < f; ++curved_)
      if (!take_pivot(curved_)) break;
    for (Index k = curved_; k < f; ++k) append(flat_, flat_count_, n_, [&](double* v) { flat_vector(k, v); });
  }

  // One column of the Cholesky factor, in the lower triangle of H: the pivot that cancellation has left most of.
  bool take_pivot(Index k) {
    const Index f = free_count_;
    Index best = k;
    double most = -1.0;
    for (Index a = k; a < f; ++a) {
      const double share = H(a, a) / std::max(terms_[permutation_[a]], 1e-300);
      if (share > most) best = a, most = share;
    }
    if (!(most > flat)) return false;
    if (best != k) {  // of a symmetric matrix of which the lower triangle is kept
      std::swap(permutation_[k], permutation_[best]);
      for (Index c = 0; c < k; ++c) std::swap(H(k, c), H(best, c));
      for (Index c = k + 1; c < best; ++c) std::swap(H(c, k), H(best, c));
      for (Index a = best + 1; a < f; ++a) std::swap(H(a, k), H(a, best));
      std::swap(H(k, k), H(best, best));
    }
    const double pivot = std::sqrt(H(k, k));
    H(k, k) = pivot;
    for (Index a = k + 1; a < f; ++a) H(a, k) /= pivot;
    for (Index a = k + 1; a < f; ++a)
      if (const double v = H(a, k); v != 0.0)
        for (Index b = k + 1; b <= a; ++b) H(a, b) -= v * H(b, k);
    return true;
  }

  // Z w for the direction w that the k-th free column leads without curvature.
  void flat_vector(Index k, double* v) {
    double* w = step_;
    for (Index a = 0; a < curved_; ++a) w[a] = -H(k, a);
    for (Index a = curved_; a-- > 0;) {
      for (Index b = a + 1; b < curved_; ++b) w[a] -= H(b, a) * w[b];
      w[a] /= H(a, a);
    }
    for (Index j = 0; j < n_; ++j) {
      v[j] = 0.0;
      if (!nonzero_[j]) continue;
      v[j] = Z(j)[permutation_[k]];
      for (Index a = 0; a < curved_; ++a) v[j] += Z(j)[permutation_[a]] * w[a];
    }
  }

  // Appends a vector to an orthonormal family, what is rounding in it set to zero.
  template <class Fill>
  static void append(double* family, Index& count, Index length, Fill&& fill) {
    double* v = family + static_cast<std::size_t>(count) * length;
    fill(v);
    for (int pass = 0; pass < 2; ++pass) {
      for (Index k = 0; k < count; ++k) {
        const double* u = family + static_cast<std::size_t>(k) * length;
        double inner = 0.0;
        for (Index j = 0; j < length; ++j) inner += u[j] * v[j];
        for (Index j = 0; j < length; ++j) v[j] -= inner * u[j];
      }
      double largest = 0.0, norm = 0.0;
      for (Index j = 0; j < length; ++j) largest = std::max(largest, std::abs(v[j]));
      for (Index j = 0; j < length; ++j) {
        if (std::abs(v[j]) <= small * largest) v[j] = 0.0;
        norm += v[j] * v[j];
      }
      if (norm == 0.0) return;
      for (Index j = 0; j < length; ++j) v[j] /= std::sqrt(norm);
    }
    ++count;
  }

  // ---- solves ----------------------------------------------------------------------------------------------------------------

  // v ← v less its part in the family; whether that was rounding.
  static bool project(const double* family, Index count, Index length, double* v) {
    bool none = true;
    for (Index k = 0; k < count; ++k) {
      const double* u = family + static_cast<std::size_t>(k) * length;
      double inner = 0.0, largest = 0.0;
      for (Index j = 0; j < length; ++j) {
        inner += u[j] * v[j];
        largest = std::max(largest, std::abs(v[j]));
      }
      for (Index j = 0; j < length; ++j) v[j] -= inner * u[j];
      none &= std::abs(inner) <= consistent_to * largest;
    }
    return none;
  }

  bool dependent_rows_agree() const {
    bool agree = true;
    for (Index d = 0; d < multipliers_.dropped; ++d) {
      if (multipliers_.is_free(d)) continue;
      double left = r2[multipliers_.dependent[d]], size = std::abs(left);
      for (Index b = 0; b < multipliers_.rank; ++b) {
        const double term = multipliers_.at(d, b) * r2[multipliers_.basic[b]];
        left -= term;
        size = std::max(size, std::abs(term));
      }
      agree &= std::abs(left) <= consistent_to * size;
    }
    return agree;
  }

  // In place of (dx, dz) the residuals of (x, ζ), in twice the precision.
  void form_residual() {
    for (Index j = 0; j < n_; ++j) sums_[j] = {r1[j], 0.0};
    for_each_P([&](Index i, Index j, double v) {
      sums_[i].add(-v, x_[j]);
      if (i != j) sums_[j].add(-v, x_[i]);
    });
    std::fill(dx_ + n_, dx_ + n_ + m_, 0.0);
    for (Index k = 0; k < rank_; ++k) {
      const Index i = row_[k];
      Sum row{r2[i], 0.0};
      for_each_in_row(i, [&](Index j, double v) {
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

  // (dx, dζ) ← the solution for them as right-hand sides.
  void correct() {
    double* g = work_;  // the right-hand side of columns
    std::copy(dx_, dx_ + n_ + m_, g);
    std::fill(dx_, dx_ + n_ + m_, 0.0);
    for (Index k = 0; k < rank_; ++k)  // L
      for (Index t = lower_begin_[k]; t < lower_begin_[k + 1]; ++t) dzeta_[k] -= lower_[t].value * dzeta_[lower_[t].index];
    for (Index k = rank_; k-- > 0;) {  // U
      const Entry* pivot = upper_ + upper_begin_[k];
      double sum = dzeta_[k];
      for (const Entry* t = pivot + 1; t < upper_ + upper_begin_[k + 1]; ++t) sum -= t->value * dx_[t->index];
      dx_[pivot->index] = sum / pivot->value;
    }
    subtract_curvature(g);
    double* w = step_;
    for (Index a = 0; a < curved_; ++a) w[a] = 0.0;
    for_each_nonzero_column([&](Index j) {
      for (Index a = 0; a < curved_; ++a) w[a] += Z(j)[permutation_[a]] * g[j];
    });
    for (Index a = 0; a < curved_; ++a) {
      for (Index b = 0; b < a; ++b) w[a] -= H(a, b) * w[b];
      w[a] /= H(a, a);
    }
    for (Index a = curved_; a-- > 0;) {
      for (Index b = a + 1; b < curved_; ++b) w[a] -= H(b, a) * w[b];
      w[a] /= H(a, a);
    }
    for_each_nonzero_column([&](Index j) {
      double along = 0.0, curved_along = 0.0;
      for (Index a = 0; a < curved_; ++a) {
        along += Z(j)[permutation_[a]] * w[a];
        curved_along += QZ(j)[permutation_[a]] * w[a];
      }
      dx_[j] += along;
      g[j] -= curved_along;
    });
    for (Index k = 0; k < rank_; ++k) {  // U'
      const Entry* pivot = upper_ + upper_begin_[k];
      dzeta_[k] = g[pivot->index] / pivot->value;
      for (const Entry* t = pivot + 1; t < upper_ + upper_begin_[k + 1]; ++t) g[t->index] -= t->value * dzeta_[k];
    }
    for (Index k = rank_; k-- > 0;)  // L'
      for (Index t = lower_begin_[k]; t < lower_begin_[k + 1]; ++t) dzeta_[lower_[t].index] -= lower_[t].value * dzeta_[k];
  }

  // g -= Q dx
  void subtract_curvature(double* g) const {
    for_each_P([&](Index i, Index j, double v) {
      g[i] -= v * dx_[j];
      if (i != j) g[j] -= v * dx_[i];
    });
    for (Index i = 0; i < m_; ++i) g[n_ + i] -= dx_[n_ + i];
  }

  // The largest entries of (dx, dζ).
  struct Change {
    double x, zeta;
  };
  Change change() const {
    Change largest{0.0, 0.0};
    for (Index j = 0; j < n_; ++j) largest.x = std::max(largest.x, std::abs(dx_[j]));
    for (Index k = 0; k < rank_; ++k) largest.zeta = std::max(largest.zeta, std::abs(dzeta_[k]));
    return largest;
  }

  const Plan* plan_ = nullptr;
  Index n_ = 0, m_ = 0;
  Multipliers multipliers_;
  Index rank_ = 0, free_count_ = 0, curved_ = 0, flat_count_ = 0, ties_count_ = 0, touched_count_ = 0;
  double left_ = 0.0;
  bool leans_ = false;
  double *work_, *x_, *dx_;            // per column: of x, then of u
  double *diagonal_, *step_, *terms_;  // of P; along Z; |Q| on the columns of Z
  double *zeta_, *dzeta_;              // per row, per pivot
  Sum* sums_;
  Index *touched_, *pivot_of_, *order_, *row_, *column_;  // the k-th pivot is in row_[k], column_[k]
  Index *upper_begin_, *lower_begin_, *free_, *permutation_;
  bool *mark_, *nonzero_;
  Entry *upper_, *lower_;              // U with the pivot first, L without its diagonal, by rows
  double *Z_, *QZ_, *H_, *flat_, *ties_;
};

}  // namespace cvxl::CVXL_ISA
