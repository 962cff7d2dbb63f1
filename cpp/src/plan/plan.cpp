#include "plan/plan.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <stdexcept>

#include "plan/bundles.hpp"
#include "plan/candidate.hpp"
#include "plan/faces.hpp"
#include "plan/guessable.hpp"
#include "plan/padded.hpp"
#include "plan/panels.hpp"

namespace cvxl {
namespace {

class Builder {
 public:
  explicit Builder(const Structure& s) : padded_(s), s_(padded_.structure), whole_(s_), c_(choose_candidate(s_, whole_)) {
    require_room(c_.ordering.nonzeros);
    tree_ = analyze(c_.graph, c_.cliques, c_.ordering);
  }

  Plan build() {
    plan_.n = s_.n;
    plan_.m = s_.m;
    plan_.zero = s_.zero;
    plan_.orthant_end = s_.first_cone_row();
    std::map<Cone::Kind, Index> count;
    for (Index first = plan_.orthant_end; const Cone& cone : s_.cones) {
      if (cone.rows() > 0) plan_.cones.push_back({cone, first, count[cone.kind]++});
      first += cone.rows();
    }
    plan_.nodes = c_.nodes;
    plan_.ordering = c_.name;
    plan_.flops = c_.condensing + c_.ordering.flops;
    plan_.guessable = is_guessable(s_);
    relabel();
    place_panels();
    place_bundles(plan_, [&](const auto& offsets, const auto& rows) { return make_update(offsets, rows); });
    place_entries();
    find_runs();
    group_rows();
    place_whole_cones();
    return std::move(plan_);
  }

 private:
  using Items = std::span<const Index>;

  static Range append(std::vector<Index>& pool, Items items) {
    const auto begin = static_cast<Index>(pool.size());
    pool.insert(pool.end(), items.begin(), items.end());
    return {begin, static_cast<Index>(pool.size())};
  }

  static void require_room(std::int64_t entries) {
    if (entries > std::numeric_limits<Index>::max() / 2)
      throw std::length_error("the factor of this problem has too many entries for the native engine");
  }

  void relabel() {
    plan_.row_position.assign(s_.m, -1);
    for (Index i = 0; i < s_.m; ++i)
      if (whole_.row_leaves[i]) plan_.row_position[i] = -2;
    std::vector<Index> row_of_node(c_.nodes, -1);
    for (Index i = 0; i < s_.m; ++i)
      if (c_.node_of_row[i] >= 0) row_of_node[c_.node_of_row[i]] = i;
    for (Index k = 0; k < c_.nodes; ++k) {
      const Index node = tree_.order[k];
      plan_.pivot_sign.push_back(node < s_.n ? 1.0 : -1.0);
      if (node < s_.n) {
        plan_.variable_of.push_back(node);
        plan_.variable_position.push_back(k);
      } else {
        plan_.row_position[row_of_node[node]] = k;
      }
    }
    std::vector<Index> internal(s_.n);
    for (Index j = 0; j < s_.n; ++j) internal[plan_.variable_of[j]] = j;

    relabel_P(internal);
    relabel_A(internal);
  }

  // The lower triangle is sorted by columns, then by rows.
  void relabel_P(const std::vector<Index>& internal) {
    const auto entries_of_P = static_cast<std::size_t>(s_.P.nnz());
    std::vector<Index> next(static_cast<std::size_t>(s_.n) + 1);
    const auto low = [&](Index i, Index k) { return std::min(internal[i], internal[s_.P.indices[k]]); };
    const auto each_entry = [&](auto&& visit) {
      for (Index i = 0; i < s_.n; ++i)
        for (Index k = s_.P.indptr[i]; k < s_.P.indptr[i + 1]; ++k) visit(i, k);
    };
    each_entry([&](Index i, Index k) { ++next[low(i, k) + 1]; });
    std::partial_sum(next.begin(), next.end(), next.begin());
    std::vector<std::pair<Index, Index>> by_column(entries_of_P);  // user's row, entry
    each_entry([&](Index i, Index k) { by_column[next[low(i, k)]++] = {i, k}; });
    const auto high = [&](Index i, Index k) { return std::max(internal[i], internal[s_.P.indices[k]]); };
    plan_.P.indptr.assign(static_cast<std::size_t>(s_.n) + 1, 0);
    each_entry([&](Index i, Index k) { ++plan_.P.indptr[high(i, k) + 1]; });
    std::partial_sum(plan_.P.indptr.begin(), plan_.P.indptr.end(), plan_.P.indptr.begin());
    next = plan_.P.indptr;
    plan_.P.indices.resize(entries_of_P);
    plan_.P_source.resize(entries_of_P);
    for (const auto& [i, k] : by_column) {
      const Index place = next[high(i, k)]++;
      plan_.P.indices[place] = low(i, k);
      plan_.P_source[place] = k;
    }
  }

  void relabel_A(const std::vector<Index>& internal) {
    plan_.A.indices.reserve(s_.A.indices.size());
    plan_.A_source.reserve(s_.A.indices.size());
    std::vector<std::pair<Index, Index>> entries;  // columns with their origins
    for (Index i = 0; i < s_.m; ++i) {
      entries.clear();
      for (Index k = s_.A.indptr[i]; k < s_.A.indptr[i + 1]; ++k)
        entries.emplace_back(internal[s_.A.indices[k]], padded_.source[k] < 0 ? -1 : s_.A_offset() + padded_.source[k]);
      if (!std::is_sorted(entries.begin(), entries.end())) std::sort(entries.begin(), entries.end());
      for (const auto& [column, origin] : entries) {
        plan_.A.indices.push_back(column);
        plan_.A_source.push_back(origin);
      }
      plan_.A.indptr.push_back(plan_.A.nnz());
    }
  }

  void place_panels() {
    const std::vector<Panel> panels = find_panels(tree_);
    below_ = find_rows(tree_, panels);
    supernode_of_.resize(c_.nodes);
    for (const Panel& p : panels) {
      const Index rows = p.columns + p.below;
      for (Index c = 0; c < p.columns; ++c) {
        supernode_of_[p.first + c] = static_cast<Index>(plan_.supernodes.size());
        plan_.diagonal.push_back(plan_.factor_size + c * rows + c);
      }
      plan_.supernodes.push_back({p.first, p.columns, rows, plan_.factor_size, {}});
      require_room(std::int64_t{plan_.factor_size} + std::int64_t{p.columns} * rows);
      plan_.factor_size += p.columns * rows;
      plan_.factor_nonzeros += p.size();
      plan_.widest = std::max(plan_.widest, p.columns);
    }
    std::vector<Index> offsets;
    for (std::size_t j = 0; j < plan_.supernodes.size(); ++j) {
      Supernode& node = plan_.supernodes[j];
      offsets.clear();
      for (Index k = 0; k < node.columns; ++k) offsets.push_back(node.panel + k * node.rows + node.columns);
      node.update = make_update(offsets, below_.row(static_cast<Index>(j)));
    }
  }

  // Of a position in the rows of a supernode; `near`: where in these the one before it was found.
  Index panel_row(const Supernode& node, Index position, Index near = 0) const {
    if (position < node.first + node.columns) return position - node.first;
    const auto below = below_.row(static_cast<Index>(&node - plan_.supernodes.data()));
    const auto after = static_cast<std::size_t>(std::max(0, near - node.columns + 1));
    if (after < below.size() && below[after] == position) return node.columns + static_cast<Index>(after);
    const auto guess = static_cast<std::size_t>(position - below.front());  // right where the rows follow each other
    if (guess < below.size() && below[guess] == position) return node.columns + static_cast<Index>(guess);
    return node.columns + static_cast<Index>(std::lower_bound(below.begin(), below.end(), position) - below.begin());
  }

  Index target(Index a, Index b) const {
    const auto [low, high] = std::minmax(a, b);
    const Supernode& node = plan_.supernodes[supernode_of_[low]];
    return node.panel + (low - node.first) * node.rows + panel_row(node, high);
  }

  Update make_update(Items offsets, Items rows) {
    Update update;
    update.offsets = append(plan_.offsets, offsets);
    update.rows = append(plan_.positions, rows);
    update.segments.begin = static_cast<Index>(plan_.segments.size());
    const Index count = static_cast<Index>(rows.size());
    for (Index begin = 0, end; begin < count; begin = end) {
      const Supernode& node = plan_.supernodes[supernode_of_[rows[begin]]];
      end = begin;
      while (end < count && rows[end] < node.first + node.columns) ++end;
      plan_.segments.push_back({begin, end, node.panel, node.first, node.rows, static_cast<Index>(plan_.relative.size())});
      for (Index a = begin, row = 0; a < count; ++a) plan_.relative.push_back(row = panel_row(node, rows[a], row));
    }
    update.segments.end = static_cast<Index>(plan_.segments.size());
    return update;
  }

  void place_entries() {
    plan_.P_target.reserve(static_cast<std::size_t>(plan_.P.nnz()));
    plan_.A_target.reserve(static_cast<std::size_t>(plan_.A.nnz()));
    for (Index i = 0; i < s_.n; ++i)
      for (Index j : plan_.P.row(i)) plan_.P_target.push_back(target(plan_.variable_position[i], plan_.variable_position[j]));
    plan_.loose.assign(static_cast<std::size_t>(s_.n), 1);
    for (Index i = 0; i < s_.m; ++i)
      for (Index j : plan_.A.row(i)) {
        const bool placed = plan_.is_kept(i) && !whole_.variable_leaves[plan_.variable_of[j]];
        plan_.A_target.push_back(placed ? target(plan_.row_position[i], plan_.variable_position[j]) : -1);
        if (plan_.is_kept(i)) plan_.loose[j] = 0;
      }
  }

  void find_runs() {
    for (Index i = 0; i < s_.m; ++i) {
      if (!plan_.runs.empty()) {
        RowRun& run = plan_.runs.back();
        const auto first = plan_.A.row(run.first), own = plan_.A.row(i);
        if (run.rows < 4 && std::min(plan_.row_position[run.first], 0) == std::min(plan_.row_position[i], 0) &&
            std::ranges::equal(first, own)) {
          ++run.rows;
          continue;
        }
      }
      plan_.runs.push_back({i, 1});
    }
    for (const RowRun& run : plan_.runs)
      if (plan_.is_condensed(run.first) && plan_.A.row(run.first).size() != 1) plan_.condensed_runs.push_back(run);
    for (Index i = 0; i < s_.m; ++i)
      if (plan_.is_kept(i)) plan_.kept_rows.push_back(i);
  }

  // Condensed rows with several entries, those with one column pattern together, patterns in lexicographic order.
  void group_rows() {
    std::vector<Index> rows;
    for (Index i = 0; i < s_.m; ++i) {
      if (!plan_.is_condensed(i)) continue;
      ++plan_.condensed;
      const auto length = plan_.A.row(i).size();
      if (length == 1) plan_.singletons.push_back(i);
      if (length > 1) rows.push_back(i);
    }
    const auto alike = [&](Index i, Index j) { return std::ranges::equal(plan_.A.row(i), plan_.A.row(j)); };
    const auto before = [&](Index i, Index j) {
      const Items a = plan_.A.row(i), b = plan_.A.row(j);
      if (a[0] != b[0]) return a[0] < b[0];
      return alike(i, j) ? i < j : std::ranges::lexicographical_compare(a, b);
    };
    std::sort(rows.begin(), rows.end(), before);
    std::vector<Index> offsets, positions;
    for (auto begin = rows.begin(), end = begin; begin != rows.end(); begin = end) {
      end = std::find_if(begin, rows.end(), [&](Index i) { return !alike(*begin, i); });
      offsets.clear(), positions.clear();
      for (auto row = begin; row != end; ++row) offsets.push_back(plan_.A.indptr[*row]);
      for (Index j : plan_.A.row(*begin)) positions.push_back(plan_.variable_position[j]);
      plan_.groups.push_back({append(plan_.group_rows, {begin, end}), make_update(offsets, positions)});
      plan_.widest = std::max(plan_.widest, static_cast<Index>(end - begin));
    }
  }

  void place_whole_cones() {
    for (const WholeCone& cone : whole_.cones)
      place_whole_cone(plan_, cone, [&](const std::vector<Index>& positions) { return make_update({}, positions); });
  }

  Padded padded_;
  const Structure& s_;
  WholeCones whole_;
  Candidate c_;
  EliminationTree tree_;
  Plan plan_;
  std::vector<Index> supernode_of_;
  Pattern below_;  // of supernodes: the rows below the diagonal block
};

}  // namespace

Plan make_plan(const Structure& structure) { return Builder(structure).build(); }

}  // namespace cvxl
