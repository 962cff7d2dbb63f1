#pragma once
// Which multipliers a solution with dependent active constraints has.
//
// Let rows D of the active ones depend on the independent rows B, A_D = C A_B. All multipliers that explain one gradient, A'z
// fixed, are z_B(t) = z_B + C'(z_D - t), z_D = t with z ≥ 0 where a row is an inequality: a polytope, and (B, D, C) is a dictionary
// of it as in the simplex method. The solution x(b) follows b_i exactly where row i has a positive multiplier; with multipliers to
// choose from, which rows it follows depends on the direction of change. Rows whose multiplier is positive in the whole polytope
// are followed always. So (Robinson 1980; Bonnans and Shapiro 2000, sec. 5.2, for the directional derivative) a quantity that is
// determined by those rows alone is differentiable, and its derivative is that of any vertex's basis; one that needs other rows is
// not.

#include <algorithm>
#include <cmath>
#include <utility>

#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

class Multipliers {
 public:
  Index rank = 0, dropped = 0;  // rows in B and D
  Index *basic, *dependent;     // B, D
  double* C;                    // dropped × rank
  Index stride = 0;             // of C
  double* z;                    // per row of the program, the multiplier
  bool* signed_;                // per row: an inequality
  bool* vanishes;               // per row: zero in some multiplier

  Multipliers() = default;
  Multipliers(Index rows, Arena& arena)
      : basic(arena.take<Index>(rows)),
        dependent(arena.take<Index>(rows)),
        C(arena.take<double>(static_cast<std::size_t>(rows) * rows)),
        stride(rows),
        z(arena.take<double>(rows)),
        signed_(arena.take<bool>(rows)),
        vanishes(arena.take<bool>(rows)) {}

  void add_dependent(Index row, const double* coefficients) {
    dependent[dropped] = row;
    std::copy_n(coefficients, stride, &at(dropped++, 0));
  }

  double& at(Index d, Index b) { return C[static_cast<std::size_t>(d) * stride + b]; }
  double at(Index d, Index b) const { return C[static_cast<std::size_t>(d) * stride + b]; }

  // Moves to a vertex of the polytope, and finds the rows whose multiplier is zero somewhere. Returns whether B has changed. What
  // is left in D of rows without sign depends on such rows alone.
  bool analyse() {
    pivots_ = 0;
    size_ = 0.0;
    for (Index b = 0; b < rank; ++b)
      if (signed_[basic[b]]) size_ = std::max(size_, z[basic[b]]);
    for (Index d = 0; d < dropped; ++d)
      if (signed_[dependent[d]]) size_ = std::max(size_, z[dependent[d]]);
    for (Index d = 0; d < dropped; ++d) signed_[dependent[d]] ? settle(d) : release(d);
    for (Index b = 0; b < rank; ++b) vanishes[basic[b]] = signed_[basic[b]] && is_zero(z[basic[b]]);
    for (Index d = 0; d < dropped; ++d) vanishes[dependent[d]] = signed_[dependent[d]];
    for (Index b = 0; b < rank; ++b)
      if (signed_[basic[b]] && !vanishes[basic[b]]) minimize(basic[b]);
    return pivots_ > 0;
  }

  // Rows that cannot be moved freely are not known to keep their multiplier where they are among dependent ones.
  template <class Curved>
  void doubt(Curved&& curved) {
    for (Index d = 0; d < dropped; ++d) {
      if (curved(dependent[d])) vanishes[dependent[d]] = true;
      for (Index b = 0; b < rank; ++b)
        if (curved(basic[b]) && !is_null(at(d, b))) vanishes[basic[b]] = true;
    }
  }

  // The null vector of A' that row D[d] brings: 1 there, -C on B. `v` has an entry per row.
  void direction(Index d, double* v, Index rows) const {
    std::fill(v, v + rows, 0.0);
    v[dependent[d]] = 1.0;
    for (Index b = 0; b < rank; ++b)
      if (!is_null(at(d, b))) v[basic[b]] = -at(d, b);
  }

  // Whether right-hand sides of dependent rows are what those of B say, to `tolerance` of the terms; rows that are free aside.
  bool agree(const double* right, double tolerance) const {
    for (Index d = 0; d < dropped; ++d) {
      if (is_free(d)) continue;
      double left = right[dependent[d]], size = std::abs(left);
      for (Index b = 0; b < rank; ++b) {
        const double term = at(d, b) * right[basic[b]];
        left -= term;
        size = std::max(size, std::abs(term));
      }
      if (!(std::abs(left) <= tolerance * size)) return false;
    }
    return true;
  }

  // Whether row D[d] depends on rows without sign alone, itself one.
  bool is_free(Index d) const {
    if (signed_[dependent[d]]) return false;
    for (Index b = 0; b < rank; ++b)
      if (signed_[basic[b]] && !is_null(at(d, b))) return false;
    return true;
  }

 private:
  static constexpr double zero = 1e-11;  // relative to the largest multiplier, of the rows' own size

  bool is_zero(double multiplier) const { return std::abs(multiplier) <= zero * size_; }
  static bool is_null(double coefficient) { return std::abs(coefficient) <= 1e-10; }

  // A row without sign enters B for the inequality that it drives to zero first, in either direction.
  void release(Index d) {
    Index leaving = -1;
    double nearest = 0.0;
    for (Index b = 0; b < rank; ++b) {
      if (!signed_[basic[b]] || is_null(at(d, b))) continue;
      const double step = z[basic[b]] / std::abs(at(d, b));
      if (leaving < 0 || step < nearest) leaving = b, nearest = step;
    }
    if (leaving >= 0) exchange(d, leaving, z[basic[leaving]] / at(d, leaving));
  }

  // The multiplier of an inequality in D sinks to zero, or until another that it lowers has reached zero.
  void settle(Index d) {
    Index leaving = -1;
    double nearest = z[dependent[d]];
    for (Index b = 0; b < rank; ++b) {
      if (!signed_[basic[b]] || is_null(at(d, b)) || at(d, b) > 0.0) continue;
      const double step = z[basic[b]] / -at(d, b);
      if (step < nearest) leaving = b, nearest = step;
    }
    leaving < 0 ? move(d, -nearest) : exchange(d, leaving, -nearest);
  }

  // Whether z_row reaches zero: the simplex method with Bland's rule, which any row on its way that is zero also learns from.
  void minimize(Index row) {
    for (Index pass = 0; pass < 50 + 4 * dropped; ++pass) {
      Index place = 0, entering = -1;
      while (basic[place] != row) ++place;
      for (Index d = 0; d < dropped; ++d)
        if (signed_[dependent[d]] && at(d, place) > 1e-9 && (entering < 0 || dependent[d] < dependent[entering])) entering = d;
      if (entering < 0) return;
      Index leaving = -1;
      double nearest = 0.0;
      for (Index b = 0; b < rank; ++b) {
        if (!signed_[basic[b]] || at(entering, b) <= 1e-9) continue;
        const double step = std::max(z[basic[b]], 0.0) / at(entering, b);
        if (leaving < 0 || step < nearest || (step == nearest && basic[b] < basic[leaving])) leaving = b, nearest = step;
      }
      const bool reached = leaving == place || is_zero(z[row] - nearest * at(entering, place));
      vanishes[basic[leaving]] = true;
      if (reached) {
        vanishes[row] = true;
        return;
      }
      exchange(entering, leaving, nearest);
    }
    vanishes[row] = true;  // undecided
  }

  // z_D[d] changes by `step`.
  void move(Index d, double step) {
    z[dependent[d]] += step;
    for (Index b = 0; b < rank; ++b) z[basic[b]] -= at(d, b) * step;
  }

  void exchange(Index d, Index b, double step) {
    move(d, step);
    ++pivots_;
    const double pivot = at(d, b);
    for (Index j = 0; j < rank; ++j) at(d, j) = j == b ? 1.0 / pivot : -at(d, j) / pivot;
    for (Index k = 0; k < dropped; ++k) {
      const double factor = at(k, b);
      if (k == d || factor == 0.0) continue;
      for (Index j = 0; j < rank; ++j) at(k, j) = (j == b ? 0.0 : at(k, j)) + factor * at(d, j);
    }
    std::swap(dependent[d], basic[b]);
    z[dependent[d]] = signed_[dependent[d]] ? 0.0 : z[dependent[d]];
  }

  Index pivots_ = 0;
  double size_ = 0.0;
};

}  // namespace cvxl::CVXL_ISA
