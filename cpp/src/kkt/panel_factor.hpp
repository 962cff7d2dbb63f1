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
        coefficient_(arena.take<V>(plan.widest)),
        scratch_(
            arena.take<V>(single ? most_terms * (panel_columns + rows_of_block<V>) : std::size_t(plan.widest) * panel_columns)) {}

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
    for (Index k = 0; k < update.offsets.size(); ++k) coefficient_[k] = coefficient(k);
    subtract(source, update, static_cast<const V*>(coefficient_), {});
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
    if constexpr (single) return subtract_strips(first, last, first_row, count, terms, coefficient, operand, target);
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

  // The same for one instance, whose rows fill registers: some terms and columns at a time, so that what is laid out stays in the caches.
  template <class Operand, class Target>
  void subtract_strips(Index first, Index last, Index first_row, Index count, Index terms, const V* coefficient, Operand& operand,
                       const Target& target) {
    constexpr int MR = rows_of_block<V>, NR = columns_of_block<V>;
    V* const strip = scratch_ + most_terms * panel_columns;
    for (Index from = 0; from < terms; from += most_terms) {
      const Index length = std::min<Index>(most_terms, terms - from);
      for (Index k = 0; k < length; ++k) {
        const V* const p = operand(from + k);
        for (Index b = first; b < last; ++b)
          scratch_[(b - first) / NR * NR * length + k * NR + (b - first) % NR] = coefficient[from + k] * p[b];
      }
      for (Index a = first_row; a < count; a += MR) {
        const Index rows = std::min<Index>(MR, count - a);
        for (Index k = 0; k < length; ++k) {
          const V* const p = operand(from + k) + a;
          if (rows == MR)
            std::copy_n(p, MR, strip + k * MR);
          else
            std::fill(std::copy_n(p, rows, strip + k * MR), strip + (k + 1) * MR, V{});
        }
        const bool adjacent = rows == MR && target.row(a + MR - 1) - target.row(a) == MR - 1;
        for (Index b = first; b < std::min<Index>(last, a + rows); b += NR) {
          const RegisterBlock<MR, NR> block(length, scratch_ + (b - first) * length, [&](Index k) { return strip + k * MR; });
          const int columns = std::min<Index>(NR, last - b);
          if (adjacent)
            for (int j = 0; j < columns; ++j) block.subtract_from(target.column(b + j) + target.row(a), j);
          else
            for (int j = 0; j < columns; ++j) {
              V* const column = target.column(b + j);
              for (int i = 0; i < rows; ++i) column[target.row(a + i)] -= block(i, j);
            }
        }
      }
    }
  }

  void factor_column(const Supernode& node, M& broken) {
    V* const L = entries + node.panel;
    const V d = accept_pivot(node.first, L[0], broken);
    for (Index r = 1; r < node.rows; ++r) L[r] *= d;
  }

  // Dense L D L' of one panel. Some columns at a time are brought up to date with all before them and factored; of one instance with
  // those of their block, which is then taken from all columns behind it.
  void factor_panel(const Supernode& node, M& broken) {
    V* L = entries + node.panel;
    const Index ld = node.rows, block = single ? most_terms : node.columns;
    const auto subtract_columns = [&](Index from, Index to, Index first, Index last) {
      subtract_product(
          first, last, first, node.rows, to - from, pivot_ + node.first + from, [&](Index k) { return L + (from + k) * ld; },
          Own{L, ld});
    };
    for (Index start = 0; start < node.columns; start += block) {
      const Index end = std::min<Index>(start + block, node.columns);
      for (Index first = start; first < end; first += factored_columns) {
        const Index last = std::min<Index>(first + factored_columns, end);
        if (first > start) subtract_columns(start, first, first, last);
        for_pieces<columns_of_block<V>>(first, last, [&](Index j0, auto nr) {
          factor_columns<decltype(nr)::value>(L + first * ld, ld, node.first + first, j0 - first, node.rows, first, broken);
        });
      }
      for (Index first = end; first < node.columns; first += panel_columns)
        subtract_columns(start, end, first, std::min<Index>(first + panel_columns, node.columns));
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
    for_pieces<rows_of_block<V>>(j0 + NR, rows, [&](Index r, auto mr) {
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

  static constexpr bool single = std::is_same_v<V, Number>;
  static constexpr Index factored_columns = 24, panel_columns = single ? 128 : 24, most_terms = 192;
  static constexpr int few_terms = 2;

  const PlanView& plan_;
  V *pivot_, *coefficient_, *scratch_;
};

}  // namespace cvxl::CVXL_ISA
