#pragma once
// The KKT system of one instance, factored by a team: assemble, factor K = L D L' and solve, as factor.hpp does for a pack of lanes.
//
// Narrow panels go level by level, by lists (plan/levels.hpp): a level has one phase, here and in each substitution. Wide ones are
// factored in blocks of columns. Every thread factors the diagonal block for itself, in registers, and then the rows that
// are its own: so a block has two phases, its rows and what they do to the columns behind it, and a substitution has one. What a
// phase reads it does not write: the factored diagonal block is stored in the phase that follows, and substitutions go from one
// array to another. Nothing depends on the number of threads.

#include <algorithm>

#include "kkt/team_blocks.hpp"
#include "kkt/team_products.hpp"
#include "lanes/arena.hpp"
#include "lanes/team.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class TeamKkt {
 public:
  using M = MaskOf<V>;

  V* e;
  V* delta;

  CVXL_HD TeamKkt(const PlanView& plan, Arena& arena)
      : e(arena.take<V>(plan.m)),
        delta(arena.take<V>(plan.m)),
        plan_(plan),
        factor_(arena.take<V>(plan.factor_size)),
        pivot_(arena.take<V>(plan.nodes)),
        inverse_(arena.take<V>(plan.nodes)),
        y_(arena.take<V>(plan.nodes)),
        w_(arena.take<V>(plan.nodes)),
        weight_(arena.take<V>(plan.m)) {}

  CVXL_SEAM M factorize(const V* P, const V* A, V rho, M relative = M{}) {
    assemble(P, A);
    for (const Index g : by_level_.wide_groups) {
      const RowGroup& group = plan_.groups[g];
      Turns<V> turns;
      const Index* row = plan_.group_rows.data() + group.rows.begin;
      apply(A, group.update, [&](Index k) { return -weight_[row[k]]; }, turns);
      wait<V>();
    }
    regularize(rho, relative);
    M broken{};
    for (const Level& level : by_level_.levels) {
      factor_columns(level.factor, broken);
      for (Index s = level.wide.begin; s < level.wide.end; ++s) factor_panel(panel(s), broken);
    }
    each<V>(0, any_of(broken), [](Index) {});
    return broken;
  }

  CVXL_SEAM void solve(const V* A, const V* r1, const V* r2, V* dx, V* dz) {
    share<V>(plan_.n, [&](Index j) {
      V sum = r1[j];
      for (Index t = plan_.A_columns.begin[j]; t < plan_.A_columns.begin[j + 1]; ++t)
        if (const Index i = plan_.A_columns.row[t]; plan_.is_condensed(i))
          sum += A[plan_.A_columns.entry[t]] * (weight_[i] * r2[i]);
      y_[plan_.variable_position[j]] = sum;
    });
    share<V>(plan_.m, [&](Index i) {
      if (!plan_.is_condensed(i)) y_[plan_.row_position[i]] = e[i] * r2[i];
    });
    wait<V>();
    for (const Level& level : by_level_.levels) {
      eliminate_columns(level.forward);
      for (Index s = level.wide.begin; s < level.wide.end; ++s) eliminate(panel(s));
    }
    for (std::size_t l = by_level_.levels.size(); l-- > 0;) {
      const Level& level = by_level_.levels[l];
      for (Index s = level.wide.begin; s < level.wide.end; ++s) back_substitute(panel(s));
      substitute_columns(level.backward);
    }
    each<V>(plan_.n, [&](Index j) { dx[j] = y_[plan_.variable_position[j]]; });
    each<V>(plan_.m, [&](Index i) {
      dz[i] = plan_.is_condensed(i) ? weight_[i] * (dot_row(plan_.A, A, i, dx) - r2[i]) : e[i] * y_[plan_.row_position[i]];
    });
  }

  // The same for S right-hand sides, one after the other.
  template <int S>
  CVXL_HD void solve(const V* A, const V* const (&r1)[S], const V* const (&r2)[S], V* const (&dx)[S], V* const (&dz)[S]) {
    for (int s = 0; s < S; ++s) solve(A, r1[s], r2[s], dx[s], dz[s]);
  }

 private:
  CVXL_HD const Supernode& panel(Index wide) const { return plan_.supernodes[by_level_.wide_panels[wide]]; }

  CVXL_SEAM void assemble(const V* P, const V* A) {
    fill<V>(factor_, plan_.factor_size, V{});
    share<V>(plan_.P.nnz(), [&](Index k) { factor_[plan_.P_target[k]] = P[k]; });
    share<V>(plan_.m, [&](Index i) {
      if (plan_.is_condensed(i)) {
        weight_[i] = e[i] * e[i] / delta[i];
        return;
      }
      factor_[plan_.diagonal[plan_.row_position[i]]] = -delta[i];
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k) factor_[plan_.A_target[k]] = e[i] * A[k];
    });
    wait<V>();
    sum_up(by_level_.condensed, [&](const Gather& sum) {
      V total = factor_[sum.target];
      for (Index t = sum.terms.begin; t < sum.terms.end; ++t) {
        const Product& p = by_level_.products[t];
        total += A[p.left] * A[p.right] * weight_[p.weight];
      }
      factor_[sum.target] = total;
    });
  }

  // One phase of sums, if there are any.
  template <class F>
  CVXL_HD void sum_up(const Range& sums, F&& f) {
    if (sums.size() > 0) each<V>(sums.size(), [&](Index k) { f(by_level_.sums[sums.begin + k]); });
  }

  // What the columns of the level before do to those behind them, and the pivots of the next.
  CVXL_SEAM void factor_columns(const Range& sums, M& broken) {
    sum_up(sums, [&](const Gather& sum) {
      V total = factor_[sum.target];
      for (Index t = sum.terms.begin; t < sum.terms.end; ++t) {
        const Product& p = by_level_.products[t];
        total -= factor_[p.left] * factor_[p.right] * inverse_[p.weight];
      }
      if (sum.completes >= 0) inverse_[sum.completes] = invert(total, splat<V>(plan_.pivot_sign[sum.completes]), broken);
      factor_[sum.target] = total;
    });
  }

  // The same of a right-hand side: w = D⁻¹L⁻¹y where a level is next.
  CVXL_SEAM void eliminate_columns(const Range& sums) {
    sum_up(sums, [&](const Gather& sum) {
      V total = y_[sum.target];
      for (Index t = sum.terms.begin; t < sum.terms.end; ++t) {
        const Term& term = by_level_.terms[t];
        total -= factor_[term.entry] * w_[term.position];
      }
      if (sum.completes >= 0)
        w_[sum.target] = total * inverse_[sum.target];
      else
        y_[sum.target] = total;
    });
  }

  // y = w - D⁻¹U'y in the columns of a level.
  CVXL_SEAM void substitute_columns(const Range& sums) {
    sum_up(sums, [&](const Gather& sum) {
      V total = V{};
      for (Index t = sum.terms.begin; t < sum.terms.end; ++t) {
        const Term& term = by_level_.terms[t];
        total += factor_[term.entry] * y_[term.position];
      }
      y_[sum.target] = w_[sum.target] - total * inverse_[sum.target];
    });
  }

  CVXL_HD void regularize(V rho, M relative) {
    each<V>(plan_.n, [&](Index j) {
      V& d = factor_[plan_.diagonal[plan_.variable_position[j]]];
      const V least = max(min(V(d), splat<V>(1.0)), splat<V>(least_curvature));
      d += plan_.loose[j] ? select(relative, rho * least, rho) : rho;
    });
  }

  // The calling thread's part of factor(r_a, r_b) -= Σ_k source(k, a) coefficient_k source(k, b), all pairs a ≥ b of the update's
  // rows, in tiles. Those on the diagonal also write above it, where nothing is read.
  template <class Coefficient>
  CVXL_HD void apply(const V* source, const Update& update, Coefficient&& coefficient, Turns<V>& turns) {
    const Index* offsets = plan_.offsets.data() + update.offsets.begin;
    const Index* rows = plan_.positions.data() + update.rows.begin;
    for (Index s = update.segments.begin; s < update.segments.end; ++s) {
      const Segment& segment = plan_.segments[s];
      const Index* relative = plan_.relative.data() + segment.relative - segment.begin;
      subtract_products<V>(
          segment.begin, segment.end, update.rows.size(), update.offsets.size(), turns, coefficient,
          [&](Index k) { return source + offsets[k]; },
          [&](Index a, Index b) -> V& { return factor_[segment.panel + (rows[b] - segment.first) * segment.ld + relative[a]]; });
    }
  }

  CVXL_SEAM void factor_panel(const Supernode& node, M& broken) {
    each_block(node.columns, [&](Index first, auto width) { factor_block<decltype(width)::value>(node, first, broken); });
  }

  template <int N>
  CVXL_SEAM void factor_block(const Supernode& node, Index first, M& broken) {
    V* L = factor_ + node.panel;
    const Index ld = node.rows, last = first + N;
    DiagonalBlock<V, N> block;
    block.factor(L + first * ld + first, ld, plan_.pivot_sign.data() + node.first + first, broken);
    share<V>(node.rows - last, [&](Index r) { block.factor_row(L + first * ld + last + r, ld); });
    if (Team<V>::rank() == 0)
      for (int j = 0; j < N; ++j) {
        pivot_[node.first + first + j] = block.pivot[j];
        inverse_[node.first + first + j] = block.inverse[j];
      }
    wait<V>();
    if (Team<V>::rank() == 0) block.store(L + first * ld + first, ld);
    Turns<V> turns;
    const V* pivot = pivot_ + node.first + first;
    if (last < node.columns)
      subtract_products<V>(
          last, node.columns, node.rows, N, turns, [&](Index k) { return pivot[k]; }, [&](Index k) { return L + (first + k) * ld; },
          [&](Index a, Index b) -> V& { return L[b * ld + a]; });
    else
      apply(factor_, node.update, [&](Index k) { return pivot_[node.first + k]; }, turns);
    wait<V>();
  }

  // Of row r of a panel.
  CVXL_HD Index position(const Supernode& node, Index r) const {
    return r < node.columns ? node.first + r : plan_.positions[static_cast<std::size_t>(node.update.rows.begin + r - node.columns)];
  }

  // w = D⁻¹L⁻¹y in the columns of a panel, and y less what they add to the rows below.
  CVXL_SEAM void eliminate(const Supernode& node) {
    each_block(node.columns, [&](Index first, auto width) {
      constexpr int N = decltype(width)::value;
      const V* L = factor_ + node.panel + first * node.rows;
      V t[N];
      for (int c = 0; c < N; ++c) {
        t[c] = y_[node.first + first + c];
        for (int b = 0; b < c; ++b) t[c] -= L[b * node.rows + first + c] * t[b];
      }
      if (Team<V>::rank() == 0)
        for (int c = 0; c < N; ++c) w_[node.first + first + c] = t[c] * inverse_[node.first + first + c];
      share<V>(node.rows - first - N, [&](Index turn) {
        const Index r = first + N + turn;
        V& v = y_[position(node, r)];
        V sum = v;
        for (int c = 0; c < N; ++c) sum -= L[c * node.rows + r] * t[c];
        v = sum;
      });
      wait<V>();
    });
  }

  // y = L⁻ᵀw in the columns of a panel: w less what the rows below add, then block by block, from the last on.
  CVXL_SEAM void back_substitute(const Supernode& node) {
    const V* panel = factor_ + node.panel;
    if (node.rows > node.columns)
      each<V>(node.columns, [&](Index c) {
        V sum = w_[node.first + c];
        for (Index r = node.columns; r < node.rows; ++r) sum -= panel[c * node.rows + r] * y_[position(node, r)];
        w_[node.first + c] = sum;
      });
    each_block_backward(node.columns, [&](Index first, auto width) {
      constexpr int N = decltype(width)::value;
      V t[N];
      for (int c = N; c-- > 0;) {
        t[c] = w_[node.first + first + c];
        for (int b = c + 1; b < N; ++b) t[c] -= panel[(first + c) * node.rows + first + b] * t[b];
      }
      if (Team<V>::rank() == 0)
        for (int c = 0; c < N; ++c) y_[node.first + first + c] = t[c];
      share<V>(first, [&](Index c) {
        V sum = w_[node.first + c];
        for (int b = 0; b < N; ++b) sum -= panel[c * node.rows + first + b] * t[b];
        w_[node.first + c] = sum;
      });
      wait<V>();
    });
  }

  const PlanView& plan_;
  const LevelsView& by_level_ = plan_.by_level;
  V *factor_, *pivot_, *inverse_;  // L by panels; D; D⁻¹
  V *y_, *w_;                      // of a solve, by positions
  V* weight_;                      // of condensed rows
};

}  // namespace cvxl::CVXL_ISA
