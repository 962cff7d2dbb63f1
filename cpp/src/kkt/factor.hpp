#pragma once
// Numeric part of the KKT system: assemble, factor K = L D L' and solve, for a pack of lanes at once. Nothing here allocates.

#include <algorithm>

#include "kkt/pivot.hpp"
#include "kkt/program_pack.hpp"
#include "kkt/whole_blocks.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Kkt {
 public:
  using M = MaskOf<V>;

  // Row scalings of the system being factored: row i reads e_i (A_i x - r_i) - Δ_i ζ_i = 0 with z_i = e_i ζ_i.
  V *e, *delta;
  WholeBlocks<V> whole;

  Kkt(const PlanView& plan, Arena& arena)
      : e(arena.take<V>(plan.m)),
        delta(arena.take<V>(plan.m)),
        whole(plan, arena),
        plan_(plan),
        factor_(arena.take<V>(plan.factor_size)),
        pivot_(arena.take<V>(plan.nodes)),
        inverse_(arena.take<V>(plan.nodes)),
        y_(arena.take<V>(static_cast<std::size_t>(plan.nodes) * most_sides)),
        weight_(arena.take<V>(plan.m)),
        scratch_(arena.take<V>(static_cast<std::size_t>(plan.widest) * (panel_columns + 1))) {}

  // Factors with P, A, rho and the current e, delta. Returns the lanes in which a pivot had the wrong sign or was not a number;
  // such a pivot is replaced by its sign, so that the other entries stay finite. In `relative` lanes ρ is in units of the curvature
  // that P and condensed rows give a variable, where that is below 1: one with little, as of a weight that fades, moves freely.
  M factorize(const V* P, const V* A, V rho, M relative = M{}) {
    assemble(P, A);
    for (const RowGroup& group : plan_.groups) {
      V* coefficient = scratch_ + static_cast<std::size_t>(plan_.widest) * panel_columns;
      for (Index k = 0; k < group.rows.size(); ++k) coefficient[k] = -weight_[plan_.group_rows[group.rows.begin + k]];
      apply(A, group.update, coefficient);
    }
    whole.assemble(A, e, weight_, rho, factor_);
    regularize(rho, relative);
    M broken{};
    for (const Supernode& node : plan_.supernodes) {
      factor_panel(node, broken);
      apply(factor_, node.update, pivot_ + node.first);
    }
    return broken;
  }

  // Solves [P + ρ, A'; A, -Δ/e²] (dx, dz) = (r1, r2). dx, dz may not alias r1, r2.
  void solve(const V* A, const V* r1, const V* r2, V* dx, V* dz) { solve<1>(A, {r1}, {r2}, {dx}, {dz}); }

  // The same for S right-hand sides, which meet the factor and A together.
  template <int S>
  void solve(const V* A, const V* const (&r1)[S], const V* const (&r2)[S], V* const (&dx)[S], V* const (&dz)[S]) {
    static_assert(S <= most_sides);
    V* y[S];
    for (int s = 0; s < S; ++s) {
      y[s] = y_ + s * plan_.nodes;
      std::copy(r1[s], r1[s] + plan_.n, dx[s]);
    }
    for_each_run(plan_, A, [&](Index first, const auto& rows, auto count) {
      constexpr int R = decltype(count)::value;
      if (plan_.is_whole(first)) return;
      V t[S][R];
      for (int s = 0; s < S; ++s)
        for (int r = 0; r < R; ++r)
          if (plan_.is_condensed(first))
            t[s][r] = weight_[first + r] * r2[s][first + r];
          else
            y[s][plan_.row_position[first + r]] = e[first + r] * r2[s][first + r];
      if (plan_.is_condensed(first)) rows.template axpy<S>(t, dx);
    });
    for (int s = 0; s < S; ++s) {
      whole.enter(A, e, weight_, r2[s], dx[s], y[s]);
      for (Index j = 0; j < plan_.n; ++j) y[s][plan_.variable_position[j]] = dx[s][j];
    }
    substitute<S>(y);
    for (int s = 0; s < S; ++s)
      for (Index j = 0; j < plan_.n; ++j) dx[s][j] = y[s][plan_.variable_position[j]];
    for_each_run(plan_, A, [&](Index first, const auto& rows, auto count) {
      constexpr int R = decltype(count)::value;
      if (plan_.is_whole(first)) return;
      V t[S][R];
      for (int s = 0; s < S; ++s)
        for (int r = 0; r < R; ++r) {
          t[s][r] = -r2[s][first + r];
          if (!plan_.is_condensed(first)) dz[s][first + r] = e[first + r] * y[s][plan_.row_position[first + r]];
        }
      if (!plan_.is_condensed(first)) return;
      rows.template dot<S>(dx, t);
      for (int s = 0; s < S; ++s)
        for (int r = 0; r < R; ++r) dz[s][first + r] = weight_[first + r] * t[s][r];
    });
    for (int s = 0; s < S; ++s) whole.leave(A, weight_, r1[s], r2[s], dx[s], dz[s]);
  }

 private:
  void regularize(V rho, M relative) {
    for (Index j = 0; j < plan_.n; ++j) {
      V& d = factor_[plan_.diagonal[plan_.variable_position[j]]];
      d += plan_.loose[j] ? select(relative, rho * max(min(d, splat<V>(1.0)), splat<V>(least_curvature)), rho) : rho;
    }
  }

  void assemble(const V* P, const V* A) {
    std::fill(factor_, factor_ + plan_.factor_size, V{});
    for (Index k = 0; k < plan_.P.nnz(); ++k) factor_[plan_.P_target[k]] = P[k];
    for (Index i = 0; i < plan_.m; ++i) {
      if (!plan_.is_kept(i)) {
        weight_[i] = e[i] * e[i] / delta[i];
        continue;
      }
      factor_[plan_.diagonal[plan_.row_position[i]]] = -delta[i];
      for (Index k = plan_.A.indptr[i]; k < plan_.A.indptr[i + 1]; ++k)
        if (plan_.A_target[k] >= 0) factor_[plan_.A_target[k]] = e[i] * A[k];
    }
    for (Index i : plan_.singletons) {
      const Index k = plan_.A.indptr[i];
      factor_[plan_.diagonal[plan_.variable_position[plan_.A.indices[k]]]] += weight_[i] * A[k] * A[k];
    }
  }

  // factor(r_a, r_b) -= Σ_k source(k, a) coefficient_k source(k, b) for all pairs a ≥ b of the update's rows. Blocks on the
  // diagonal also write above it; those entries of a panel are never read.
  void apply(const V* source, const Update& update, const V* coefficient) {
    const Index* offsets = plan_.offsets.data() + update.offsets.begin;
    const Index* rows = plan_.positions.data() + update.rows.begin;
    const auto operand = [&](Index k) { return source + offsets[k]; };
    for (Index s = update.segments.begin; s < update.segments.end; ++s) {
      const Segment& segment = plan_.segments[s];
      const Index* relative = plan_.relative.data() + segment.relative - segment.begin;
      for (Index b = segment.begin; b < segment.end; b += panel_columns)
        subtract_product(b, std::min<Index>(b + panel_columns, segment.end), update.rows.size(), update.offsets.size(), coefficient,
                         operand, [&](Index a, Index column) -> V& {
                           return factor_[segment.panel + (rows[column] - segment.first) * segment.ld + relative[a]];
                         });
    }
  }

  // target(a, b) -= Σ_k operand(k)[a] coefficient_k operand(k)[b] for first ≤ b < last and b ≤ a < count. The scaled columns are
  // laid out once, T; then each strip of rows, brought into the first cache, meets all of them.
  template <class Operand, class Target>
  CVXL_INLINE void subtract_product(Index first, Index last, Index count, Index terms, const V* coefficient, Operand&& operand,
                                    Target&& target) {
    for_pieces<block_columns>(first, last, [&](Index b, auto nr) {
      constexpr int NR = decltype(nr)::value;
      V* T = scratch_ + static_cast<std::size_t>(b - first) * terms;
      for (Index k = 0; k < terms; ++k)
        for (int j = 0; j < NR; ++j) T[k * NR + j] = coefficient[k] * operand(k)[b + j];
    });
    for_pieces<block_rows>(first, count, [&](Index a, auto mr) {
      constexpr int MR = decltype(mr)::value;
      for_pieces<block_columns>(first, std::min<Index>(last, a + MR), [&](Index b, auto nr) {
        constexpr int NR = decltype(nr)::value;
        const V* T = scratch_ + static_cast<std::size_t>(b - first) * terms;
        const Block<V, MR, NR> block(terms, T, [&](Index k) { return operand(k) + a; });
        for (int j = 0; j < NR; ++j)
          for (int i = 0; i < MR; ++i) target(a + i, b + j) -= block.acc[i][j];
      });
    });
  }

  // Dense L D L' of one panel: panel_columns columns at a time are brought up to date with all before them, then factored.
  void factor_panel(const Supernode& node, M& broken) {
    V* L = factor_ + node.panel;
    const Index ld = node.rows;
    for (Index first = 0; first < node.columns; first += panel_columns) {
      const Index last = std::min<Index>(first + panel_columns, node.columns);
      if (first > 0)
        subtract_product(
            first, last, node.rows, first, pivot_ + node.first, [&](Index k) { return L + k * ld; },
            [&](Index a, Index b) -> V& { return L[b * ld + a]; });
      for_pieces<block_columns>(first, last, [&](Index j0, auto nr) {
        factor_columns<decltype(nr)::value>(L + first * ld, ld, node.first + first, j0 - first, node.rows, first, broken);
      });
    }
  }

  // Left-looking: columns j0 … j0 + NR - 1 of the part of a panel that starts at L, whose row r is at L[… + top + r].
  template <int NR>
  CVXL_INLINE void factor_columns(V* L, Index ld, Index position, Index j0, Index rows, Index top, M& broken) {
    L += top;
    rows -= top;
    for (Index k = 0; k < j0; ++k)
      for (int j = 0; j < NR; ++j) scratch_[k * NR + j] = pivot_[position + k] * L[k * ld + j0 + j];
    const auto update = [&](Index r, auto& block) {
      for (int j = 0; j < NR; ++j)
        for (auto& row : block.acc) row[j] = L[(j0 + j) * ld + r + (&row - block.acc)] - row[j];
    };

    // The diagonal block: unblocked, u = L D before the division.
    V l[NR][NR], inverse[NR];
    {
      Block<V, NR, NR> block(j0, scratch_, [&](Index k) { return L + k * ld + j0; });
      update(j0, block);
      auto& u = block.acc;
      for (int j = 0; j < NR; ++j) {
        for (int i = j; i < NR; ++i)
          for (int c = 0; c < j; ++c) u[i][j] -= u[i][c] * l[j][c];
        inverse[j] = accept_pivot(position + j0 + j, u[j][j], broken);
        for (int i = j + 1; i < NR; ++i) L[(j0 + j) * ld + j0 + i] = l[i][j] = u[i][j] * inverse[j];
      }
    }
    for_pieces<block_rows>(j0 + NR, rows, [&](Index r, auto mr) {
      constexpr int MR = decltype(mr)::value;
      Block<V, MR, NR> block(j0, scratch_, [&](Index k) { return L + k * ld + r; });
      update(r, block);
      auto& u = block.acc;
      for (int j = 0; j < NR; ++j)
        for (int i = 0; i < MR; ++i)
          for (int c = 0; c < j; ++c) u[i][j] -= u[i][c] * l[j][c];
      for (int j = 0; j < NR; ++j)
        for (int i = 0; i < MR; ++i) L[(j0 + j) * ld + r + i] = u[i][j] * inverse[j];
    });
  }

  CVXL_INLINE V accept_pivot(Index position, V d, M& broken) {
    const double sign = plan_.pivot_sign[position];
    const M good = sign * d > smallest_pivot;
    broken |= ~good;
    d = select(good, d, splat<V>(sign));
    pivot_[position] = d;
    return inverse_[position] = 1.0 / d;
  }

  // y ← (L D L')⁻¹ y for each of S vectors, four columns of a panel at a time.
  template <int S>
  void substitute(V* const (&y)[S]) {
    for (const Supernode& node : plan_.supernodes)
      for (Index k = 0; k < node.columns; k += 4)
        with_constant<4>(std::min<Index>(4, node.columns - k), [&](auto nc) { eliminate<decltype(nc)::value, S>(node, k, y); });
    for (Index p = 0; p < plan_.nodes; ++p)
      for (int s = 0; s < S; ++s) y[s][p] *= inverse_[p];
    for (std::size_t s = plan_.supernodes.size(); s-- > 0;) {
      const Supernode& node = plan_.supernodes[s];
      for (Index k = (node.columns - 1) / 4 * 4; k >= 0; k -= 4)
        with_constant<4>(std::min<Index>(4, node.columns - k),
                         [&](auto nc) { back_substitute<decltype(nc)::value, S>(node, k, y); });
    }
  }

  // The forward step of columns k … k + NC - 1: solve in their block, subtract them from the rows below.
  template <int NC, int S>
  CVXL_INLINE void eliminate(const Supernode& node, Index k, V* const (&y)[S]) {
    const V* L = factor_ + node.panel + k * node.rows;
    V t[S][NC];
    for (int s = 0; s < S; ++s)
      for (int c = 0; c < NC; ++c) {
        t[s][c] = y[s][node.first + k + c];
        for (int b = 0; b < c; ++b) t[s][c] -= L[b * node.rows + k + c] * t[s][b];
        y[s][node.first + k + c] = t[s][c];
      }
    const auto subtract = [&](Index row, Index position) {
      for (int s = 0; s < S; ++s) {
        V v = y[s][position];
        for (int c = 0; c < NC; ++c) v -= L[c * node.rows + row] * t[s][c];
        y[s][position] = v;
      }
    };
    for (Index r = k + NC; r < node.columns; ++r) subtract(r, node.first + r);
    const Index* below = plan_.positions.data() + node.update.rows.begin;
    for (Index r = node.columns; r < node.rows; ++r) subtract(r, below[r - node.columns]);
  }

  // The backward step: gather the rows below into columns k … k + NC - 1, then solve in their block.
  template <int NC, int S>
  CVXL_INLINE void back_substitute(const Supernode& node, Index k, V* const (&y)[S]) {
    const V* L = factor_ + node.panel + k * node.rows;
    V t[S][NC];
    for (int s = 0; s < S; ++s)
      for (int c = 0; c < NC; ++c) t[s][c] = y[s][node.first + k + c];
    const auto gather = [&](Index row, Index position) {
      for (int s = 0; s < S; ++s) {
        const V value = y[s][position];
        for (int c = 0; c < NC; ++c) t[s][c] -= L[c * node.rows + row] * value;
      }
    };
    const Index* below = plan_.positions.data() + node.update.rows.begin;
    for (Index r = node.columns; r < node.rows; ++r) gather(r, below[r - node.columns]);
    for (Index r = k + NC; r < node.columns; ++r) gather(r, node.first + r);
    for (int s = 0; s < S; ++s)
      for (int c = NC; c-- > 0;) {
        for (int b = c + 1; b < NC; ++b) t[s][c] -= L[c * node.rows + k + b] * t[s][b];
        y[s][node.first + k + c] = t[s][c];
      }
  }

  static constexpr Index panel_columns = 24;
  static constexpr int most_sides = 2;

  const PlanView& plan_;
  V *factor_, *pivot_, *inverse_, *y_, *weight_, *scratch_;
};

}  // namespace cvxl::CVXL_ISA
