// Ordering and elimination tree against brute force on graphs.

#include <numeric>
#include <set>

#include "plan/elimination_tree.hpp"
#include "random_programs.hpp"
#include "test.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

Graph random_graph(Random& random, Index nodes, double density) {
  Graph graph(nodes);
  for (Index v = 0; v < nodes; ++v)
    for (Index u = 0; u < v; ++u)
      if (random.flip(density)) {
        graph[u].push_back(v);
        graph[v].push_back(u);
      }
  return graph;
}

bool is_permutation(std::vector<Index> order, Index count) {
  std::sort(order.begin(), order.end());
  std::vector<Index> expected(count);
  std::iota(expected.begin(), expected.end(), 0);
  return order == expected;
}

// Columns of the Cholesky factor of the graph's matrix, found by connecting the neighbours of every eliminated node.
std::vector<std::vector<Index>> eliminate(const Graph& graph, const std::vector<Index>& order) {
  const auto count = static_cast<Index>(order.size());
  std::vector<Index> position(count);
  for (Index k = 0; k < count; ++k) position[order[k]] = k;
  std::vector<std::set<Index>> below(count);
  for (Index v = 0; v < count; ++v)
    for (Index u : graph[v])
      if (position[u] > position[v]) below[position[v]].insert(position[u]);
  std::vector<std::vector<Index>> columns;
  for (Index k = 0; k < count; ++k) {
    columns.emplace_back(below[k].begin(), below[k].end());
    for (Index a : columns[k])
      for (Index b : columns[k])
        if (b > a) below[a].insert(b);
  }
  return columns;
}

}  // namespace

TEST(ordering_is_a_permutation_that_defers) {
  Random random(1);
  for (int trial = 0; trial < 60; ++trial) {
    const Index count = 1 + random.index(40);
    const Graph graph = random_graph(random, count, random.uniform(0.0, 0.5));
    std::vector<bool> deferred(count);
    for (Index v = 0; v < count; ++v) {
      deferred[v] = random.flip(0.3);
      for (Index u : graph[v]) deferred[v] = deferred[v] && !deferred[u];  // rows of A touch variables only
    }
    const Ordering found = minimum_degree(graph, deferred);
    for (const auto& order : {found.order, analyze(graph, found.order).order}) {
      CHECK(is_permutation(order, count));
      std::vector<bool> done(count);
      for (Index v : order) {
        CHECK(!deferred[v] || graph[v].empty() || std::any_of(graph[v].begin(), graph[v].end(), [&](Index u) { return done[u]; }));
        done[v] = true;
      }
    }
  }
}

TEST(elimination_tree_equals_symbolic_elimination) {
  Random random(2);
  for (int trial = 0; trial < 60; ++trial) {
    const Index count = 1 + random.index(40);
    const Graph graph = random_graph(random, count, random.uniform(0.0, 0.3));
    std::vector<Index> order(count);
    std::iota(order.begin(), order.end(), 0);
    for (Index k = count; k-- > 1;) std::swap(order[k], order[random.index(k + 1)]);
    const auto tree = analyze(graph, order);
    CHECK(is_permutation(tree.order, count));
    const auto columns = eliminate(graph, tree.order);
    CHECK(tree.structure == columns);
    std::int64_t nonzeros = 0, original = 0;
    for (Index j = 0; j < count; ++j) {
      CHECK(tree.parent[j] == (columns[j].empty() ? -1 : columns[j][0]));
      nonzeros += 1 + static_cast<std::int64_t>(columns[j].size());
    }
    for (const auto& column : eliminate(graph, order)) original += 1 + static_cast<std::int64_t>(column.size());
    CHECK(original == nonzeros);  // a postorder has the same fill
  }
}

namespace {

// By definition: the node of least degree that need not wait, of equals the first; nodes that look alike at the start stay
// together.
std::vector<Index> plain_minimum_degree(const Graph& graph, std::vector<bool> waiting) {
  const Index count = static_cast<Index>(graph.size());
  std::vector<std::set<Index>> adjacent;
  for (const auto& list : graph) adjacent.emplace_back(list.begin(), list.end());
  const auto closed = [&](Index v) {
    std::set<Index> all(graph[v].begin(), graph[v].end());
    all.insert(v);
    return all;
  };
  std::vector<bool> done(count);
  const std::vector<bool> deferred = waiting;
  std::vector<Index> order;
  while (static_cast<Index>(order.size()) < count) {
    Index best = -1;
    for (Index v = 0; v < count; ++v)
      if (!done[v] && (best < 0 || std::pair<bool, std::size_t>(waiting[v], adjacent[v].size()) <
                                       std::pair<bool, std::size_t>(waiting[best], adjacent[best].size())))
        best = v;
    for (Index v = best; v < count; ++v) {
      if (done[v] || deferred[v] != deferred[best] || closed(v) != closed(best)) continue;
      done[v] = true;
      order.push_back(v);
      const std::set<Index> neighbours = adjacent[v];
      for (Index u : neighbours) {
        adjacent[u].insert(neighbours.begin(), neighbours.end());
        adjacent[u].erase(u);
        adjacent[u].erase(v);
        waiting[u] = false;
      }
    }
  }
  return order;
}

}  // namespace

TEST(minimum_degree_is_what_it_says_and_counts_its_cost) {
  Random random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const Index count = 1 + random.index(90);
    Graph graph = random_graph(random, count, random.uniform(0.0, trial % 2 ? 0.9 : 0.2));
    std::vector<bool> deferred(count);
    for (Index v = 0; v < count; ++v) {
      deferred[v] = random.flip(0.3);
      for (Index u : graph[v]) deferred[v] = deferred[v] && !deferred[u];
    }
    const Ordering found = minimum_degree(graph, deferred);
    CHECK(found.order == plain_minimum_degree(graph, deferred));
    std::int64_t flops = 0, nonzeros = 0;
    for (const auto& column : eliminate(graph, found.order)) {
      const auto size = static_cast<std::int64_t>(column.size());
      // A division and, per pair of rows, a multiply-add; scaling by the pivot once per row.
      flops += 2 * size + size * (size + 1);
      nonzeros += 1 + size;
    }
    CHECK(found.flops == flops);
    CHECK(found.nonzeros == nonzeros);
  }
}
