// Ordering and elimination tree against brute force on graphs.

#include <numeric>
#include <set>
#include <tuple>

#include "plan/panels.hpp"
#include "plan/quotient_graph.hpp"
#include "random_programs.hpp"
#include "test.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace {

using Lists = std::vector<std::vector<Index>>;

Pattern flat(const Lists& lists) {
  Pattern pattern;
  for (const auto& list : lists) {
    pattern.indices.insert(pattern.indices.end(), list.begin(), list.end());
    pattern.indptr.push_back(pattern.nnz());
  }
  return pattern;
}

Ordering counted(const Lists& graph, std::vector<Index> order) {
  Ordering ordering;
  ordering.order = std::move(order);
  count_fill(flat(graph), {}, ordering);
  return ordering;
}

Lists random_graph(Random& random, Index nodes, double density) {
  Lists graph(nodes);
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
Lists eliminate(const Lists& graph, const std::vector<Index>& order) {
  const auto count = static_cast<Index>(order.size());
  std::vector<Index> position(count);
  for (Index k = 0; k < count; ++k) position[order[k]] = k;
  std::vector<std::set<Index>> below(count);
  for (Index v = 0; v < count; ++v)
    for (Index u : graph[v])
      if (position[u] > position[v]) below[position[v]].insert(position[u]);
  Lists columns;
  for (Index k = 0; k < count; ++k) {
    columns.emplace_back(below[k].begin(), below[k].end());
    for (Index a : columns[k])
      for (Index b : columns[k])
        if (b > a) below[a].insert(b);
  }
  return columns;
}

// Nodes that wait for one of their neighbours, as rows of A wait for a variable: no two are adjacent.
std::vector<bool> random_deferral(Random& random, const Lists& graph) {
  std::vector<bool> deferred(graph.size());
  for (std::size_t v = 0; v < graph.size(); ++v) {
    deferred[v] = random.flip(0.3);
    for (Index u : graph[v]) deferred[v] = deferred[v] && !deferred[u];
  }
  return deferred;
}

Lists random_cliques(Random& random, Index nodes) {
  Lists cliques(random.index(6));
  for (auto& clique : cliques)
    for (Index v = 0; v < nodes; ++v)
      if (random.flip(0.2)) clique.push_back(v);
  return cliques;
}

Lists with_edges_of(Lists graph, const Lists& cliques) {
  for (const auto& clique : cliques)
    for (Index u : clique)
      for (Index v : clique)
        if (u != v) graph[u].push_back(v);
  for (auto& list : graph) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return graph;
}

}  // namespace

TEST(ordering_is_a_permutation_that_defers) {
  Random random(1);
  for (int trial = 0; trial < 60; ++trial) {
    const Index count = 1 + random.index(40);
    const Lists graph = random_graph(random, count, random.uniform(0.0, 0.5));
    const std::vector<bool> deferred = random_deferral(random, graph);
    const Ordering exact = minimum_degree(flat(graph), {}, deferred), bound = approximate_minimum_degree(flat(graph), {}, deferred);
    for (const auto& order : {exact.order, analyze(flat(graph), {}, exact).order, bound.order}) {
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
    const Lists edges = random_graph(random, count, random.uniform(0.0, 0.3));
    const Lists cliques = trial % 2 ? random_cliques(random, count) : Lists{};
    const Lists graph = with_edges_of(edges, cliques);
    std::vector<Index> order(count);
    std::iota(order.begin(), order.end(), 0);
    for (Index k = count; k-- > 1;) std::swap(order[k], order[random.index(k + 1)]);
    const auto tree = analyze(flat(edges), flat(cliques), counted(graph, order));
    CHECK(is_permutation(tree.order, count));
    const auto columns = eliminate(graph, tree.order);
    std::vector<Panel> single;
    for (Index j = 0; j < count; ++j) single.push_back({j, 1, tree.below[j]});
    const Pattern expected = flat(columns), rows = find_rows(tree, single);
    CHECK(rows.indptr == expected.indptr && rows.indices == expected.indices);
    const std::vector<Panel> panels = find_panels(tree);
    const Pattern below = find_rows(tree, panels);
    for (std::size_t p = 0; p < panels.size(); ++p)
      CHECK(std::ranges::equal(below.row(static_cast<Index>(p)), columns[panels[p].first + panels[p].columns - 1]));
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
std::vector<Index> plain_minimum_degree(const Lists& graph, std::vector<bool> waiting) {
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
    const Lists edges = random_graph(random, count, random.uniform(0.0, trial % 2 ? 0.9 : 0.2));
    const Lists cliques = trial % 4 > 1 ? random_cliques(random, count) : Lists{};
    const Lists graph = with_edges_of(edges, cliques);
    const std::vector<bool> deferred = random_deferral(random, graph);
    const Ordering found = minimum_degree(flat(edges), flat(cliques), deferred);
    CHECK(found.order == plain_minimum_degree(graph, deferred));
    std::int64_t flops = 0, nonzeros = 0;
    std::vector<Index> below;
    for (const auto& column : eliminate(graph, found.order)) {
      const auto size = static_cast<std::int64_t>(column.size());
      below.push_back(static_cast<Index>(size));
      // A division and, per pair of rows, a multiply-add; scaling by the pivot once per row.
      flops += 2 * size + size * (size + 1);
      nonzeros += 1 + size;
    }
    for (const Ordering& ordering : {found, counted(graph, found.order)}) {
      CHECK(ordering.below == below);
      CHECK(ordering.flops == flops);
      CHECK(ordering.nonzeros == nonzeros);
    }
  }
}

TEST(approximate_degrees_take_cliques_and_fill_hardly_more_than_exact_ones) {
  const auto compare = [](const Lists& edges, const Lists& cliques, const std::vector<bool>& deferred, double& exact,
                          double& bound) {
    const Lists graph = with_edges_of(edges, cliques);
    const Ordering found = approximate_minimum_degree(flat(edges), flat(cliques), deferred);
    CHECK(is_permutation(found.order, static_cast<Index>(edges.size())));
    const Ordering again = counted(graph, found.order);
    CHECK(found.below == again.below && found.flops == again.flops && found.nonzeros == again.nonzeros);
    exact += static_cast<double>(minimum_degree(flat(graph), {}, deferred).nonzeros);
    bound += static_cast<double>(found.nonzeros);
  };
  Random random(6);
  double exact = 0.0, bound = 0.0;  // of grids: chains, sheets and blocks
  for (const auto& [width, height, depth] : {std::tuple{900, 1, 1}, {30, 30, 1}, {60, 12, 1}, {10, 10, 10}, {21, 7, 5}}) {
    Lists grid(static_cast<std::size_t>(width) * height * depth);
    const std::vector<bool> deferred(grid.size());
    for (Index z = 0; z < depth; ++z)
      for (Index y = 0; y < height; ++y)
        for (Index x = 0; x < width; ++x) {
          const Index v = (z * height + y) * width + x;
          for (const auto& [inside, u] :
               {std::pair{x + 1 < width, v + 1}, {y + 1 < height, v + width}, {z + 1 < depth, v + width * height}})
            if (inside) {
              grid[v].push_back(u);
              grid[u].push_back(v);
            }
        }
    compare(with_edges_of(grid, {}), {}, deferred, exact, bound);
  }
  CHECK(bound < 1.05 * exact);
  exact = bound = 0.0;
  for (int trial = 0; trial < 100; ++trial) {
    const Index count = 20 + random.index(200);
    const Lists edges = random_graph(random, count, random.uniform(0.0, 4.0) / count);
    const Lists cliques = trial % 2 ? random_cliques(random, count) : Lists{};
    compare(edges, cliques, trial % 4 ? random_deferral(random, with_edges_of(edges, cliques)) : std::vector<bool>(count), exact,
            bound);
  }
  CHECK(bound < 1.05 * exact);
}

TEST(an_order_that_costs_too_much_is_given_up) {
  Lists chain(100);
  for (Index v = 1; v < 100; ++v) {
    chain[v].push_back(v - 1);
    chain[v - 1].push_back(v);
  }
  for (const auto find : {minimum_degree, approximate_minimum_degree}) {
    const auto within = [&](double most) { return find(flat(chain), {}, std::vector<bool>(100), most); };
    const Ordering whole = within(any_cost);
    CHECK(within(whole.cost()).order == whole.order);
    CHECK(within(0.5 * whole.cost()).order.size() < 60);
  }
}

TEST(nodes_with_many_neighbours_come_last_in_linear_time) {
  const Index count = 200'000;
  Lists star(count);
  std::vector<bool> deferred(count);
  for (Index v = 1; v < count; ++v) {
    star[0].push_back(v);
    star[v].push_back(0);
  }
  deferred[0] = true;
  const Ordering found = approximate_minimum_degree(flat(star), {}, deferred);
  CHECK(found.order.back() == 0);
  CHECK(found.nonzeros == 2 * count - 1);
}
