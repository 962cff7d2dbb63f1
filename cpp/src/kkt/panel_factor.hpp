#pragma once
// L D L' of a matrix that is stored by panels, for a pack of lanes at once.

#include <algorithm>

#include "kkt/pivot.hpp"
#include "lanes/arena.hpp"
#include "lanes/block.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class PanelFactor {
 public:
  using M = MaskOf<V>;

  V *entries, *inverse;  // of the matrix, then of L; D⁻¹

  PanelFactor(const PlanView& plan, Arena& arena)
      : entries(arena.take<V>(plan.factor_size)),
        inverse(arena.take<V>(plan.nodes)),
        plan_(plan),
        pivot_(arena.take<V>(plan.nodes)),
        scratch_(arena.take<V>(static_cast<std::size_t>(plan.widest) * (panel_columns + 1))) {}

  // Returns the lanes in which a pivot had the wrong sign or was not a number; such a pivot is replaced by its sign, so that the other
  // entries stay finite.
  M factorize() {
    M broken{};
    for (const Supernode& node : plan_.supernodes) {
      if (node.columns == 1)
        factor_column(node, broken);
      else
        factor_panel(node, broken);
      subtract(entries, node.update, pivot_ + node.first, node.shared);
      for (Index k = node.bundles.begin; k < node.bundles.end; ++k) {
        const Bundle& bundle = plan_.bundles[k];
        const Index* columns = plan_.bundle_columns.data() + bundle.columns.begin;
        subtract(entries, bundle.update, [&](Index t) { return pivot_[columns[t]]; });
      }
    }
    return broken;
  }

  // matrix(r_a, r_b) -= Σ_k source(k, a) coefficient(k) source(k, b) for all pairs a ≥ b of the update's rows.
  template <class Coefficient>
  void subtract(const V* source, const Update& update, Coefficient&& coefficient) {
    V* const room = scratch_ + static_cast<std::size_t>(plan_.widest) * panel_columns;
    for (Index k = 0; k < update.offsets.size(); ++k) room[k] = coefficient(k);
    subtract(source, update, static_cast<const V*>(room), {});
  }

 private:
  // The same for pairs of which not both are `shared`. Blocks on the diagonal also write above it, where nothing is read.
  void subtract(const V* source, const Update& update, const V* coefficient, Range shared) {
    const Index* offsets = plan_.offsets.data() + update.offsets.begin;
    const Index* rows = plan_.positions.data() + update.rows.begin;
    const Index count = update.rows.size(), terms = update.offsets.size();
    const auto operand = [&](Index k) { return source + offsets[k]; };
    for (Index s = update.segments.begin; s < update.segments.end; ++s) {
      const Segment& segment = plan_.segments[s];
      const bool inside = shared.begin <= segment.begin && segment.end <= shared.end;
      const Index* relative = plan_.relative.data() + segment.relative - segment.begin;
      const Elsewhere target{entries + segment.panel, rows, segment.first, segment.ld, relative};
      const Index first = inside ? shared.end : segment.begin;
      if (first == count) continue;
      if (terms <= few_terms)
        with_constant<few_terms>(terms, [&](auto n) {
          subtract_few<decltype(n)::value>(segment.begin, segment.end, first, count, coefficient, operand, target);
        });
      else
        for (Index b = segment.begin; b < segment.end; b += panel_columns)
          subtract_product(b, std::min<Index>(b + panel_columns, segment.end), std::max(b, first), count, terms, coefficient,
                           operand, target);
    }
  }

  // Where the rows of an update are in one of the panels that they meet, …
  struct Elsewhere {
    V* panel;
    const Index* rows;
    Index first, ld;
    const Index* relative;

    CVXL_INLINE V* column(Index b) const { return panel + (rows[b] - first) * ld; }
    CVXL_INLINE Index row(Index a) const { return relative[a]; }
  };
  // … and in their own.
  struct Own {
    V* panel;
    Index ld;

    CVXL_INLINE V* column(Index b) const { return panel + b * ld; }
    CVXL_INLINE Index row(Index a) const { return a; }
  };

  // As subtract_product, of so few terms that to look for blocks would take longer.
  template <int N, class Operand, class Target>
  CVXL_INLINE void subtract_few(Index first, Index last, Index first_row, Index count, const V* coefficient, Operand&& operand,
                                const Target& target) {
    const V* p[N];
    for (int k = 0; k < N; ++k) p[k] = operand(k);
    for (Index b = first; b < last; ++b) {
      V* const column = target.column(b);
      V t[N];
      for (int k = 0; k < N; ++k) t[k] = coefficient[k] * p[k][b];
      for (Index a = std::max(b, first_row); a < count; ++a) {
        V& to = column[target.row(a)];
        V v = to;
        for (int k = 0; k < N; ++k) v -= p[k][a] * t[k];
        to = v;
      }
    }
  }

  // target(a, b) -= Σ_k operand(k)[a] coefficient_k operand(k)[b] for first ≤ b < last and max(b, first_row) ≤ a < count. The scaled
  // columns are laid out once, T; then each strip of rows, brought into the first cache, meets all of them.
  template <class Operand, class Target>
  CVXL_INLINE void subtract_product(Index first, Index last, Index first_row, Index count, Index terms, const V* coefficient,
                                    Operand&& operand, const Target& target) {
    for_pieces<block_columns>(first, last, [&](Index b, auto nr) {
      constexpr int NR = decltype(nr)::value;
      V* T = scratch_ + static_cast<std::size_t>(b - first) * terms;
      for (Index k = 0; k < terms; ++k)
        for (int j = 0; j < NR; ++j) T[k * NR + j] = coefficient[k] * operand(k)[b + j];
    });
    for_pieces<block_rows>(first_row, count, [&](Index a, auto mr) {
      constexpr int MR = decltype(mr)::value;
      for_pieces<block_columns>(first, std::min<Index>(last, a + MR), [&](Index b, auto nr) {
        constexpr int NR = decltype(nr)::value;
        const V* T = scratch_ + static_cast<std::size_t>(b - first) * terms;
        const Block<V, MR, NR> block(terms, T, [&](Index k) { return operand(k) + a; });
        V* column[NR];
        for (int j = 0; j < NR; ++j) column[j] = target.column(b + j);
        for (int i = 0; i < MR; ++i)
          for (int j = 0; j < NR; ++j) column[j][target.row(a + i)] -= block.acc[i][j];
      });
    });
  }

  void factor_column(const Supernode& node, M& broken) {
    V* const L = entries + node.panel;
    const V d = accept_pivot(node.first, L[0], broken);
    for (Index r = 1; r < node.rows; ++r) L[r] *= d;
  }

  // Dense L D L' of one panel: panel_columns columns at a time are brought up to date with all before them, then factored.
  void factor_panel(const Supernode& node, M& broken) {
    V* L = entries + node.panel;
    const Index ld = node.rows;
    for (Index first = 0; first < node.columns; first += panel_columns) {
      const Index last = std::min<Index>(first + panel_columns, node.columns);
      if (first > 0)
        subtract_product(
            first, last, first, node.rows, first, pivot_ + node.first, [&](Index k) { return L + k * ld; }, Own{L, ld});
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
    V l[NR][NR], d[NR];
    {
      Block<V, NR, NR> block(j0, scratch_, [&](Index k) { return L + k * ld + j0; });
      update(j0, block);
      auto& u = block.acc;
      for (int j = 0; j < NR; ++j) {
        for (int i = j; i < NR; ++i)
          for (int c = 0; c < j; ++c) u[i][j] -= u[i][c] * l[j][c];
        d[j] = accept_pivot(position + j0 + j, u[j][j], broken);
        for (int i = j + 1; i < NR; ++i) L[(j0 + j) * ld + j0 + i] = l[i][j] = u[i][j] * d[j];
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
        for (int i = 0; i < MR; ++i) L[(j0 + j) * ld + r + i] = u[i][j] * d[j];
    });
  }

  CVXL_INLINE V accept_pivot(Index position, V d, M& broken) {
    const double sign = plan_.pivot_sign[position];
    const M good = sign * d > smallest_pivot * unit<V>;
    broken |= ~good;
    d = select(good, d, splat<V>(sign));
    pivot_[position] = d;
    return inverse[position] = 1.0 / d;
  }

  static constexpr Index panel_columns = 24;
  static constexpr int few_terms = 2;

  const PlanView& plan_;
  V *pivot_, *scratch_;
};

}  // namespace cvxl::CVXL_ISA
