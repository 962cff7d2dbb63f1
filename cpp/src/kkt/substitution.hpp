#pragma once
// Substitution with L D L' by panels, for a pack of lanes at once. Up to four columns go together, of a panel or of a bundle.

#include <algorithm>

#include "lanes/constant.hpp"
#include "plan/plan_view.hpp"

namespace cvxl::CVXL_ISA {

template <class V>
class Substitution {
 public:
  // L by panels, and D⁻¹.
  CVXL_INLINE Substitution(const PlanView& plan, const V* L, const V* inverse) : plan_(plan), L_(L), inverse_(inverse) {}

  // y ← (L D L')⁻¹ y for each of S vectors.
  template <int S>
  void apply(V* const (&y)[S]) const {
    for (const Supernode& node : plan_.supernodes) {
      if (node.columns == 1) eliminate_one(node, y);
      for (Index k = 0; node.columns > 1 && k < node.columns; k += 4)
        with_constant<4>(std::min<Index>(4, node.columns - k), [&](auto n) { eliminate<decltype(n)::value>(node, k, y); });
      for_each_strip(node, [&](const Bundle& bundle, Index k, auto n) { eliminate<decltype(n)::value>(bundle, k, y); });
    }
    for (Index p = 0; p < plan_.nodes; ++p)
      for (int s = 0; s < S; ++s) y[s][p] *= inverse_[p];
    for (std::size_t i = plan_.supernodes.size(); i-- > 0;) {
      const Supernode& node = plan_.supernodes[i];
      for_each_strip(node, [&](const Bundle& bundle, Index k, auto n) { back_substitute<decltype(n)::value>(bundle, k, y); });
      if (node.columns == 1) back_substitute_one(node, y);
      for (Index k = (node.columns - 1) / 4 * 4; node.columns > 1 && k >= 0; k -= 4)
        with_constant<4>(std::min<Index>(4, node.columns - k), [&](auto n) { back_substitute<decltype(n)::value>(node, k, y); });
    }
  }

 private:
  // N columns, and what is theirs of each of S vectors.
  template <int N, int S>
  struct Strip {
    const V* L[N];
    V t[S][N];

    // y, at `rows`, less what the columns add. These are their entries from the from-th on.
    CVXL_INLINE void subtract(Index from, const Index* rows, Index count, V* const (&y)[S]) const {
      for (Index a = 0; a < count; ++a)
        for (int s = 0; s < S; ++s) {
          V v = y[s][rows[a]];
          for (int c = 0; c < N; ++c) v -= L[c][from + a] * t[s][c];
          y[s][rows[a]] = v;
        }
    }
    // The columns less what y adds there.
    CVXL_INLINE void gather(Index from, const Index* rows, Index count, V* const (&y)[S]) {
      for (Index a = 0; a < count; ++a)
        for (int s = 0; s < S; ++s) {
          const V value = y[s][rows[a]];
          for (int c = 0; c < N; ++c) t[s][c] -= L[c][from + a] * value;
        }
    }
  };

  // f(bundle, k, number) for the columns of the bundles that are complete with a supernode, up to four at a time.
  template <class F>
  CVXL_INLINE void for_each_strip(const Supernode& node, F&& f) const {
    for (Index b = node.bundles.begin; b < node.bundles.end; ++b) {
      const Bundle& bundle = plan_.bundles[b];
      for (Index k = 0; k < bundle.columns.size(); k += 4)
        with_constant<4>(std::min<Index>(4, bundle.columns.size() - k), [&](auto n) { f(bundle, k, n); });
    }
  }

  // f(from, rows, count) for the rows below the panel that no bundle has.
  template <class F>
  CVXL_INLINE void own_rows(const Supernode& node, F&& f) const {
    const Index* below = plan_.positions.data() + node.update.rows.begin;
    f(node.columns, below, node.shared.begin);
    f(node.columns + node.shared.end, below + node.shared.end, node.rows - node.columns - node.shared.end);
  }

  template <int N, int S>
  CVXL_INLINE Strip<N, S> strip(const Bundle& bundle, const Index* columns, Index k, V* const (&y)[S]) const {
    Strip<N, S> strip;
    for (int c = 0; c < N; ++c) {
      strip.L[c] = L_ + plan_.offsets[bundle.update.offsets.begin + k + c];
      for (int s = 0; s < S; ++s) strip.t[s][c] = y[s][columns[c]];
    }
    return strip;
  }

  template <int N, int S>
  [[gnu::noinline]] void eliminate(const Bundle& bundle, Index k, V* const (&y)[S]) const {
    const Strip<N, S> own = strip<N, S>(bundle, plan_.bundle_columns.data() + bundle.columns.begin + k, k, y);
    own.subtract(0, plan_.positions.data() + bundle.update.rows.begin, bundle.update.rows.size(), y);
  }

  template <int N, int S>
  [[gnu::noinline]] void back_substitute(const Bundle& bundle, Index k, V* const (&y)[S]) const {
    const Index* columns = plan_.bundle_columns.data() + bundle.columns.begin + k;
    Strip<N, S> own = strip<N, S>(bundle, columns, k, y);
    own.gather(0, plan_.positions.data() + bundle.update.rows.begin, bundle.update.rows.size(), y);
    for (int s = 0; s < S; ++s)
      for (int c = 0; c < N; ++c) y[s][columns[c]] = own.t[s][c];
  }

  template <int N, int S>
  CVXL_INLINE Strip<N, S> strip(const Supernode& node, Index k, V* const (&y)[S]) const {
    Strip<N, S> strip;
    for (int c = 0; c < N; ++c) {
      strip.L[c] = L_ + node.panel + (k + c) * node.rows;
      for (int s = 0; s < S; ++s) strip.t[s][c] = y[s][node.first + k + c];
    }
    return strip;
  }

  // Of the only column of a supernode, in line: most have no other, and few rows.
  template <int S>
  CVXL_INLINE void eliminate_one(const Supernode& node, V* const (&y)[S]) const {
    const Strip<1, S> own = strip<1, S>(node, 0, y);
    own_rows(node, [&](Index from, const Index* rows, Index count) { own.subtract(from, rows, count, y); });
  }
  template <int S>
  CVXL_INLINE void back_substitute_one(const Supernode& node, V* const (&y)[S]) const {
    Strip<1, S> own = strip<1, S>(node, 0, y);
    own_rows(node, [&](Index from, const Index* rows, Index count) { own.gather(from, rows, count, y); });
    for (int s = 0; s < S; ++s) y[s][node.first] = own.t[s][0];
  }

  // The forward step of columns k … k + N - 1: solve in their block, subtract them from the rows below.
  template <int N, int S>
  [[gnu::noinline]] void eliminate(const Supernode& node, Index k, V* const (&y)[S]) const {
    Strip<N, S> own = strip<N, S>(node, k, y);
    auto& [L, t] = own;
    for (int s = 0; s < S; ++s)
      for (int c = 0; c < N; ++c) {
        for (int b = 0; b < c; ++b) t[s][c] -= L[b][k + c] * t[s][b];
        y[s][node.first + k + c] = t[s][c];
      }
    for (Index r = k + N; r < node.columns; ++r)
      for (int s = 0; s < S; ++s) {
        V v = y[s][node.first + r];
        for (int c = 0; c < N; ++c) v -= L[c][r] * t[s][c];
        y[s][node.first + r] = v;
      }
    own_rows(node, [&](Index from, const Index* rows, Index count) { own.subtract(from, rows, count, y); });
  }

  // The backward step: gather the rows below into columns k … k + N - 1, then solve in their block.
  template <int N, int S>
  [[gnu::noinline]] void back_substitute(const Supernode& node, Index k, V* const (&y)[S]) const {
    Strip<N, S> own = strip<N, S>(node, k, y);
    auto& [L, t] = own;
    own_rows(node, [&](Index from, const Index* rows, Index count) { own.gather(from, rows, count, y); });
    for (Index r = k + N; r < node.columns; ++r)
      for (int s = 0; s < S; ++s) {
        const V value = y[s][node.first + r];
        for (int c = 0; c < N; ++c) t[s][c] -= L[c][r] * value;
      }
    for (int s = 0; s < S; ++s)
      for (int c = N; c-- > 0;) {
        for (int b = c + 1; b < N; ++b) t[s][c] -= L[c][k + b] * t[s][b];
        y[s][node.first + k + c] = t[s][c];
      }
  }

  const PlanView& plan_;
  const V *L_, *inverse_;
};

}  // namespace cvxl::CVXL_ISA
