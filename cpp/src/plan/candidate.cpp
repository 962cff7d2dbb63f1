#include "plan/candidate.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

#include "plan/quotient_graph.hpp"

namespace cvxl {
namespace {

constexpr Index exact_limit = 1000;  // nodes up to which exact degrees are worth their time, which grows with the square
constexpr Index fewer = 32;           // of more, a limit is tried that leaves fewer by this part

using Row = std::span<const Index>;

// In lexicographic order, each once; of all there are at least two entries.
void sort_distinct(std::vector<Row>& rows) {
  const auto before = [](Row a, Row b) {
    return a[0] != b[0] ? a[0] < b[0] : std::lexicographical_compare(a.begin() + 1, a.end(), b.begin() + 1, b.end());
  };
  if (!std::is_sorted(rows.begin(), rows.end(), before)) std::sort(rows.begin(), rows.end(), before);
  const auto end = std::unique(rows.begin(), rows.end(), [](Row a, Row b) { return std::ranges::equal(a, b); });
  rows.erase(end, rows.end());
}

// The patterns of the inequality rows that may be condensed and have several entries, each once, in lexicographic order.
std::vector<Row> find_patterns(const Structure& s, const WholeCones& whole) {
  std::vector<Row> patterns;
  for (Index i = s.zero; i < s.m; ++i) {
    if (whole.row_leaves[i] || whole.row_stays[i]) continue;
    const Row own = s.A.row(i);
    if (own.size() > 1 && (patterns.empty() || !std::ranges::equal(own, patterns.back()))) patterns.push_back(own);
  }
  sort_distinct(patterns);
  return patterns;
}

// The graph of P and the rows that are kept. Every list is ascending as it is filled: of a variable, those before it, those after it,
// then rows.
Graph adjacency(const Structure& s, const WholeCones& whole, const Candidate& c) {
  const auto each_edge = [&](auto&& visit) {
    for (Index i = 0; i < s.n; ++i)
      for (Index j : s.P.row(i))
        if (i != j) visit(i, j);
    for (Index i = 0; i < s.m; ++i)
      if (const Index node = c.node_of_row[i]; node >= 0)
        for (Index j : s.A.row(i))
          if (!whole.variable_leaves[j]) visit(node, j);
  };
  Graph graph;
  graph.indptr.resize(static_cast<std::size_t>(c.nodes) + 1);
  each_edge([&](Index u, Index v) { ++graph.indptr[u + 1], ++graph.indptr[v + 1]; });
  std::partial_sum(graph.indptr.begin(), graph.indptr.end(), graph.indptr.begin());
  graph.indices.resize(static_cast<std::size_t>(graph.indptr.back()));
  std::vector<Index> next = graph.indptr;
  each_edge([&](Index u, Index v) {
    graph.indices[next[u]++] = v;
    graph.indices[next[v]++] = u;
  });
  return graph;
}

Cliques find_cliques(const std::vector<Row>& patterns, const WholeCones& whole, const Candidate& c, Index longest_condensed) {
  std::vector<Row> found;
  for (const Row pattern : patterns)
    if (static_cast<std::int64_t>(pattern.size()) <= longest_condensed) found.push_back(pattern);
  std::vector<std::vector<Index>> of_cones;
  for (const WholeCone& cone : whole.cones) {
    if (cone.faces.size() < 2) continue;
    of_cones.push_back(cone.faces);
    if (cone.of_variables)
      for (Index& node : of_cones.back()) node = c.node_of_row[node];
  }
  found.insert(found.end(), of_cones.begin(), of_cones.end());
  if (!of_cones.empty()) sort_distinct(found);
  Cliques cliques;
  for (const Row clique : found) {
    cliques.indices.insert(cliques.indices.end(), clique.begin(), clique.end());
    cliques.indptr.push_back(cliques.nnz());
  }
  return cliques;
}

// Without an order where that would cost more than `most`.
Candidate make_candidate(const Structure& s, const WholeCones& whole, const std::vector<Row>& patterns, Index longest_condensed,
                         double most) {
  Candidate c;
  c.node_of_row.assign(s.m, -1);
  c.nodes = s.n;
  for (Index i = 0; i < s.m; ++i) {
    if (whole.row_leaves[i]) continue;
    const std::int64_t length = s.A.indptr[i + 1] - s.A.indptr[i];
    if (i >= s.zero && length <= longest_condensed && !whole.row_stays[i])
      c.condensing += length * (length + 1);
    else
      c.node_of_row[i] = c.nodes++;
  }
  c.cliques = find_cliques(patterns, whole, c, longest_condensed);
  c.graph = adjacency(s, whole, c);
  std::vector<bool> deferred(c.nodes, false);
  std::fill(deferred.begin() + s.n, deferred.end(), true);
  const bool exact = c.nodes <= exact_limit;
  c.ordering =
      (exact ? minimum_degree : approximate_minimum_degree)(c.graph, c.cliques, deferred, most - static_cast<double>(c.condensing));
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
std::vector<Index> useful_limits(const std::vector<Row>& patterns) {
  std::vector<std::int64_t> lengths;
  for (const Row pattern : patterns) lengths.push_back(static_cast<std::int64_t>(pattern.size()));
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
  const std::vector<Row> patterns = find_patterns(s, whole);
  std::vector<std::pair<double, Index>> tries;  // most promising first
  Index least = std::numeric_limits<Index>::max();
  for (Index limit : useful_limits(patterns)) {
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
    Candidate c = make_candidate(s, whole, patterns, limit, lowest.first);
    if (c.is_complete() && std::pair(c.cost(), limit) < lowest) {
      lowest = {c.cost(), limit};
      best = std::move(c);
    }
  }
  return best;
}

}  // namespace cvxl
