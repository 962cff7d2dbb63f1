#include "plan/candidate.hpp"

#include <algorithm>
#include <limits>
#include <set>

#include "plan/quotient_graph.hpp"

namespace cvxl {
namespace {

constexpr Index exact_limit = 1000;  // nodes up to which exact degrees are worth their time, which grows with the square
constexpr Index fewer = 32;           // of more, a limit is tried that leaves fewer by this part

// The graph of the edges alone, or with those of the cliques.
Graph adjacency(const Structure& s, const WholeCones& whole, const Candidate& c, bool with_cliques) {
  const auto each_edge = [&](auto&& visit) {
    for (Index i = 0; i < s.n; ++i)
      for (Index j : s.P.row(i))
        if (i != j) visit(i, j);
    if (with_cliques)
      for (const auto& clique : c.cliques)
        for (std::size_t a = 0; a < clique.size(); ++a)
          for (std::size_t b = 0; b < a; ++b) visit(clique[a], clique[b]);
    for (Index i = 0; i < s.m; ++i)
      if (const Index node = c.node_of_row[i]; node >= 0)
        for (Index j : s.A.row(i))
          if (!whole.variable_leaves[j]) visit(node, j);
  };
  std::vector<std::size_t> count(c.nodes);
  each_edge([&](Index u, Index v) { ++count[u], ++count[v]; });
  Graph graph(c.nodes);
  for (Index v = 0; v < c.nodes; ++v) graph[v].reserve(count[v]);
  each_edge([&](Index u, Index v) {
    graph[u].push_back(v);
    graph[v].push_back(u);
  });
  for (auto& list : graph) {
    if (!std::is_sorted(list.begin(), list.end())) std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return graph;
}

Candidate make_candidate(const Structure& s, const WholeCones& whole, Index longest_condensed) {
  Candidate c;
  c.node_of_row.assign(s.m, -1);
  c.nodes = s.n;
  std::set<std::vector<Index>> cliques;
  for (Index i = 0; i < s.m; ++i) {
    if (whole.row_leaves[i]) continue;
    const auto entries = s.A.row(i);
    const auto length = static_cast<std::int64_t>(entries.size());
    if (i >= s.zero && length <= longest_condensed && !whole.row_stays[i]) {
      if (length > 1) cliques.emplace(entries.begin(), entries.end());
      c.flops += length * (length + 1);
    } else {
      c.node_of_row[i] = c.nodes++;
    }
  }
  for (const WholeCone& cone : whole.cones) {
    std::vector<Index> clique = cone.faces;
    if (cone.of_variables)
      for (Index& node : clique) node = c.node_of_row[node];
    if (clique.size() > 1) cliques.insert(std::move(clique));
  }
  c.cliques.assign(cliques.begin(), cliques.end());
  c.graph = adjacency(s, whole, c, false);

  std::vector<bool> deferred(c.nodes, false);
  std::fill(deferred.begin() + s.n, deferred.end(), true);
  const bool exact = c.nodes <= exact_limit;
  Ordering found =
      exact ? minimum_degree(adjacency(s, whole, c, true), deferred) : approximate_minimum_degree(c.graph, c.cliques, deferred);
  c.order = std::move(found.order);
  c.flops += found.flops;
  c.nonzeros = found.nonzeros;
  c.name = "rows of at most " + std::to_string(longest_condensed) + " entries condensed, " + (exact ? "" : "approximate ") +
           "minimum degree";
  return c;
}

Index count_nodes(const Structure& s, const WholeCones& whole, Index longest_condensed) {
  Index nodes = s.n + s.zero;
  for (Index i = s.zero; i < s.m; ++i)
    nodes += !whole.row_leaves[i] && (whole.row_stays[i] || s.A.indptr[i + 1] - s.A.indptr[i] > longest_condensed);
  return nodes;
}

// At most what `make_candidate` would cost, from counts alone: rows that are kept have their entries as edges, the longest that is
// condensed makes a clique, and Σ c² over the columns of the factor is least where all are equally long.
double lower_bound(const Structure& s, const WholeCones& whole, Index longest_condensed) {
  std::int64_t condensing = 0, kept = 0, nodes = s.n, clique = 1;
  for (Index i = 0; i < s.m; ++i) {
    if (whole.row_leaves[i] || whole.row_stays[i]) continue;
    const std::int64_t length = s.A.indptr[i + 1] - s.A.indptr[i];
    if (i >= s.zero && length <= longest_condensed) {
      condensing += length * (length + 1);
      clique = std::max(clique, length);
    } else {
      kept += length;
      ++nodes;
    }
  }
  const auto edges = static_cast<double>(kept + clique * (clique - 1) / 2);
  const auto side = static_cast<double>(clique - 1);
  const double even = edges * (edges / static_cast<double>(std::max<std::int64_t>(nodes, 1)) + 3);
  const double dense = side * (side + 1) * (2 * side + 1) / 6 + 1.5 * side * (side + 1);
  return static_cast<double>(condensing) + std::max(even, dense) + 20.0 * (static_cast<double>(nodes) + edges);
}

// The limits on the length of condensed rows that are worth a look: those between which no length lies are one. Lengths whose
// cliques would be too many to list are not tried.
std::vector<Index> useful_limits(const Structure& s, const WholeCones& whole) {
  std::set<std::vector<Index>> patterns;
  for (Index i = s.zero; i < s.m; ++i) {
    if (whole.row_leaves[i] || whole.row_stays[i]) continue;
    const auto own = s.A.row(i);
    if (i == s.zero || !std::ranges::equal(own, s.A.row(i - 1))) patterns.emplace(own.begin(), own.end());
  }
  std::vector<std::int64_t> lengths;
  for (const auto& pattern : patterns) lengths.push_back(static_cast<std::int64_t>(pattern.size()));
  std::sort(lengths.begin(), lengths.end());
  Index longest = 1;
  std::int64_t pairs = 0;
  for (std::int64_t length : lengths)
    if ((pairs += length * length) < 20'000'000) longest = std::max(longest, static_cast<Index>(length));
  const auto within = [&](Index limit) { return std::upper_bound(lengths.begin(), lengths.end(), limit) - lengths.begin(); };
  std::vector<Index> limits{1};
  for (Index limit = 2; limit < 2 * longest; limit *= 2)
    if (within(std::min(limit, longest)) > within(limits.back())) limits.push_back(std::min(limit, longest));
  return limits;
}

}  // namespace

Candidate choose_candidate(const Structure& s, const WholeCones& whole) {
  std::vector<std::pair<double, Index>> tries;  // most promising first
  Index least = std::numeric_limits<Index>::max();
  for (Index limit : useful_limits(s, whole)) {
    const Index nodes = count_nodes(s, whole, limit);
    if (nodes > exact_limit && nodes > least - least / fewer) continue;
    least = nodes;
    tries.emplace_back(lower_bound(s, whole, limit), limit);
  }
  std::sort(tries.begin(), tries.end());
  Candidate best;
  std::pair<double, Index> lowest{std::numeric_limits<double>::infinity(), 0};
  for (const auto& [bound, limit] : tries) {
    if (bound > lowest.first) break;
    Candidate c = make_candidate(s, whole, limit);
    if (std::pair(c.cost(), limit) < lowest) {
      lowest = {c.cost(), limit};
      best = std::move(c);
    }
  }
  return best;
}

}  // namespace cvxl
