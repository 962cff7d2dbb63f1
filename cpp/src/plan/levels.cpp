#include "plan/levels.hpp"

#include <algorithm>

namespace cvxl {
namespace {

// Whether so many terms of so many rows go by tiles: lists take eight bytes and more for each product.
bool is_wide(Index terms, Index rows) { return std::int64_t{terms} * rows * rows > 8192; }
bool is_wide(const Supernode& node) { return is_wide(node.columns, node.rows); }

// What lists are made of: a term of the sum for a target; or none, where the sum is the last of the position `completes`.
template <class T>
struct Item {
  Index target, completes;
  T term;
};

// Lists of terms by target, longest first, so that threads side by side have as many.
template <class T>
Range append(std::vector<Item<T>>& items, std::vector<Gather>& sums, std::vector<T>& terms) {
  std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.target < b.target; });
  const auto first = static_cast<Index>(sums.size());
  for (const Item<T>& item : items) {
    const auto end = static_cast<Index>(terms.size());
    if (static_cast<Index>(sums.size()) == first || sums.back().target != item.target)
      sums.push_back({item.target, -1, {end, end}});
    if (item.completes >= 0) {
      sums.back().completes = item.completes;
    } else {
      terms.push_back(item.term);
      ++sums.back().terms.end;
    }
  }
  items.clear();
  std::stable_sort(sums.begin() + first, sums.end(),
                   [](const Gather& a, const Gather& b) { return a.terms.size() > b.terms.size(); });
  return {first, static_cast<Index>(sums.size())};
}

class Schedule {
 public:
  explicit Schedule(const Plan& plan) : plan_(plan), level_(static_cast<std::size_t>(plan.nodes), 0) {
    for (const Supernode& node : plan.supernodes) {
      const auto own = level_.begin() + node.first;
      if (is_wide(node)) std::fill(own, own + node.columns, *std::max_element(own, own + node.columns));
      for (Index c = 0; c < node.columns; ++c) {
        last_ = std::max(last_, own[c]);
        for (Index r = is_wide(node) ? node.columns : c + 1; r < node.rows; ++r)
          level_[position(node, r)] = std::max(level_[position(node, r)], own[c] + 1);
      }
    }
  }

  Index count() const { return last_ + 1; }

  std::vector<Item<Product>> condensed(std::vector<Index>& wide) const {
    std::vector<Item<Product>> items;
    for (const Index i : plan_.singletons) {
      const Index k = plan_.A.indptr[i];
      items.push_back({plan_.diagonal[plan_.variable_position[plan_.A.indices[k]]], -1, {k, k, i}});
    }
    for (std::size_t g = 0; g < plan_.groups.size(); ++g) {
      const RowGroup& group = plan_.groups[g];
      if (is_wide(group.rows.size(), group.update.rows.size())) {
        wide.push_back(static_cast<Index>(g));
        continue;
      }
      for (Index k = group.rows.begin; k < group.rows.end; ++k) {
        const Index i = plan_.group_rows[k], begin = plan_.A.indptr[i];
        each_pair(group.update, [&](Index a, Index b, Index target) { items.push_back({target, -1, {begin + a, begin + b, i}}); });
      }
    }
    return items;
  }

  // What every level has; visit(level, factor, forward, backward, wide).
  template <class Visit>
  void each_level(Visit&& visit) const {
    std::vector<std::vector<Index>> nodes(static_cast<std::size_t>(count()));
    for (std::size_t s = 0; s < plan_.supernodes.size(); ++s) {
      const Supernode& node = plan_.supernodes[s];
      for (Index c = 0; c < node.columns; ++c)
        if (auto& own = nodes[level_[node.first + c]]; own.empty() || own.back() != static_cast<Index>(s))
          own.push_back(static_cast<Index>(s));
    }
    std::vector<Item<Product>> factor;
    std::vector<Item<Term>> forward, backward;
    std::vector<Index> wide;
    for (Index level = 0; level < count(); ++level) {
      const auto visit_columns = [&](Index of, auto&& narrow) {
        for (const Index s : nodes[of]) {
          const Supernode& node = plan_.supernodes[s];
          if (is_wide(node)) continue;
          for (Index c = 0; c < node.columns; ++c)
            if (level_[node.first + c] == of) narrow(node, c);
        }
      };
      if (level > 0)
        visit_columns(level - 1, [&](const Supernode& node, Index c) {
          const Index j = node.first + c, column = node.panel + c * node.rows;
          for (Index r = c + 1; r < node.rows; ++r) forward.push_back({position(node, r), -1, {column + r, j}});
          for (Index b = c + 1; b < node.columns; ++b)
            for (Index a = b; a < node.rows; ++a)
              factor.push_back({node.panel + b * node.rows + a, -1, {column + a, column + b, j}});
          const Index below = column + node.columns;
          each_pair(node.update,
                    [&](Index a, Index b, Index target) { factor.push_back({target, -1, {below + a, below + b, j}}); });
        });
      visit_columns(level, [&](const Supernode& node, Index c) {
        const Index j = node.first + c;
        factor.push_back({plan_.diagonal[j], j, {}});
        forward.push_back({j, j, {}});
        backward.push_back({j, j, {}});
        for (Index r = c + 1; r < node.rows; ++r) backward.push_back({j, -1, {node.panel + c * node.rows + r, position(node, r)}});
      });
      wide.clear();
      for (const Index s : nodes[level])
        if (is_wide(plan_.supernodes[s])) wide.push_back(s);
      visit(factor, forward, backward, wide);
    }
  }

 private:
  Index position(const Supernode& node, Index r) const {
    return r < node.columns ? node.first + r : plan_.positions[node.update.rows.begin + r - node.columns];
  }

  // All pairs a ≥ b of an update's rows, with where their product goes in the factor.
  template <class F>
  void each_pair(const Update& update, F&& f) const {
    for (Index s = update.segments.begin; s < update.segments.end; ++s) {
      const Segment& segment = plan_.segments[s];
      for (Index b = segment.begin; b < segment.end; ++b) {
        const Index column = segment.panel + (plan_.positions[update.rows.begin + b] - segment.first) * segment.ld;
        for (Index a = b; a < update.rows.size(); ++a) f(a, b, column + plan_.relative[segment.relative + a - segment.begin]);
      }
    }
  }

  const Plan& plan_;
  std::vector<Index> level_;  // of positions
  Index last_ = -1;
};

}  // namespace

Levels::Levels(const Plan& plan) {
  const Schedule schedule(plan);
  auto condensed = schedule.condensed(wide_groups_);
  condensed_ = append(condensed, sums_, products_);
  schedule.each_level([&](auto& factor, auto& forward, auto& backward, const std::vector<Index>& wide) {
    Level level{append(factor, sums_, products_), append(forward, sums_, terms_), append(backward, sums_, terms_), {}};
    level.wide.begin = static_cast<Index>(wide_panels_.size());
    wide_panels_.insert(wide_panels_.end(), wide.begin(), wide.end());
    level.wide.end = static_cast<Index>(wide_panels_.size());
    levels_.push_back(level);
  });
}

LevelsView Levels::view() const { return {levels_, wide_panels_, wide_groups_, sums_, products_, terms_, condensed_}; }

}  // namespace cvxl
