// Ordering, elimination tree and plan against brute force on dense matrices.

#include <map>
#include <numeric>
#include <set>

#include "plan/ordering.hpp"
#include "plan/plan.hpp"
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

// By definition: the node of least degree that need not wait, of equals the first; nodes that look alike at the start stay together.
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

namespace {

using Entry = std::pair<Index, Index>;

// Factor offset → (row position, column position), from the supernodes alone.
std::map<Index, Entry> stored_entries(const Plan& plan) {
  std::map<Index, Entry> at;
  for (const Supernode& node : plan.supernodes)
    for (Index c = 0; c < node.columns; ++c)
      for (Index r = c; r < node.rows; ++r) {
        const Index row = r < node.columns ? node.first + r : plan.positions[node.update.rows.begin + r - node.columns];
        CHECK(at.emplace(node.panel + c * node.rows + r, Entry{row, node.first + c}).second);
      }
  return at;
}

Entry ordered(Index a, Index b) { return {std::max(a, b), std::min(a, b)}; }

// Every pair a ≥ b of the update's rows is written where the factor stores it.
void check_update(const Plan& plan, const Update& update, const std::map<Index, Entry>& at) {
  const Index* rows = plan.positions.data() + update.rows.begin;
  Index next = 0;
  for (Index s = update.segments.begin; s < update.segments.end; ++s) {
    const Segment& segment = plan.segments[s];
    CHECK(segment.begin == next && segment.end > segment.begin);
    next = segment.end;
    for (Index b = segment.begin; b < segment.end; ++b)
      for (Index a = b; a < update.rows.size(); ++a) {
        const Index offset = segment.panel + (rows[b] - segment.first) * segment.ld + plan.relative[segment.relative + a - segment.begin];
        const auto found = at.find(offset);
        CHECK(found != at.end() && found->second == Entry(rows[a], rows[b]));
      }
  }
  CHECK(next == update.rows.size());
}

}  // namespace

TEST(plan_places_every_entry) {
  for (const auto& [name, s] : structures(3)) {
    const Plan plan = make_plan(s);
    const auto at = stored_entries(plan);
    std::vector<std::vector<bool>> stored(plan.nodes, std::vector<bool>(plan.nodes));
    for (const auto& [offset, entry] : at) {
      CHECK(offset >= 0 && offset < plan.factor_size);
      stored[entry.first][entry.second] = true;
    }
    CHECK(plan.factor_nonzeros == static_cast<std::int64_t>(at.size()));
    CHECK(is_permutation(plan.variable_of, s.n));
    CHECK(std::is_sorted(plan.variable_position.begin(), plan.variable_position.end()));
    for (Index p = 0; p < plan.nodes; ++p) CHECK(at.at(plan.diagonal[p]) == Entry(p, p));

    // K by positions, from the structure alone; then the same from the targets.
    std::vector<std::vector<bool>> K(plan.nodes, std::vector<bool>(plan.nodes));
    std::vector<Index> position(s.n);
    for (Index j = 0; j < s.n; ++j) position[plan.variable_of[j]] = plan.variable_position[j];
    std::set<Entry> P, A, P_planned, A_planned;
    for (Index i = 0; i < s.n; ++i)
      for (Index k = s.P.indptr[i]; k < s.P.indptr[i + 1]; ++k) P.insert(ordered(position[i], position[s.P.indices[k]]));
    Index condensed = 0, entries = 0;
    for (Index i = 0; i < s.m; ++i) {
      condensed += plan.is_condensed(i);
      CHECK(!plan.is_condensed(i) || i >= s.zero);
      for (Index k = s.A.indptr[i]; k < s.A.indptr[i + 1]; ++k)
        if (!plan.is_condensed(i)) A.insert(ordered(plan.row_position[i], position[s.A.indices[k]]));
    }
    for (Index k = 0; k < plan.P.nnz(); ++k) P_planned.insert(at.at(plan.P_target[k]));
    for (Index i = 0; i < s.m; ++i) {
      CHECK(std::is_sorted(plan.A.indices.begin() + plan.A.indptr[i], plan.A.indices.begin() + plan.A.indptr[i + 1]));
      for (Index k = plan.A.indptr[i]; k < plan.A.indptr[i + 1]; ++k) {
        CHECK((plan.A_target[k] < 0) == plan.is_condensed(i));
        if (!plan.is_condensed(i)) A_planned.insert(at.at(plan.A_target[k]));
        // The value this entry reads is the user's entry of the same row and variable.
        const Index source = plan.A_source[k] - s.A_offset();
        CHECK(source >= s.A.indptr[i] && source < s.A.indptr[i + 1] && s.A.indices[source] == plan.variable_of[plan.A.indices[k]]);
        ++entries;
      }
    }
    CHECK(P == P_planned && A == A_planned && entries == s.A.nnz() && condensed == plan.condensed);
    for (Index i = 0; i < s.n; ++i)
      for (Index k = plan.P.indptr[i]; k < plan.P.indptr[i + 1]; ++k) {
        const Entry here = ordered(plan.variable_position[i], plan.variable_position[plan.P.indices[k]]);
        CHECK(at.at(plan.P_target[k]) == here);
      }

    // Condensed rows: each with two entries or more in exactly one group, with its own operands and positions.
    std::vector<Index> seen(s.m);
    for (Index i : plan.singletons) {
      ++seen[i];
      CHECK(plan.A.indptr[i + 1] - plan.A.indptr[i] == 1);
    }
    for (const RowGroup& group : plan.groups) {
      CHECK(group.rows.size() == group.update.offsets.size() && group.rows.size() <= plan.widest);
      check_update(plan, group.update, at);
      for (Index t = 0; t < group.rows.size(); ++t) {
        const Index i = plan.group_rows[group.rows.begin + t];
        ++seen[i];
        CHECK(plan.offsets[group.update.offsets.begin + t] == plan.A.indptr[i]);
        CHECK(plan.A.indptr[i + 1] - plan.A.indptr[i] == group.update.rows.size());
        for (Index k = 0; k < group.update.rows.size(); ++k)
          CHECK(plan.positions[group.update.rows.begin + k] == plan.variable_position[plan.A.indices[plan.A.indptr[i] + k]]);
      }
    }
    for (Index i = 0; i < s.m; ++i)
      CHECK(seen[i] == (plan.is_condensed(i) && plan.A.indptr[i + 1] > plan.A.indptr[i] ? 1 : 0));
    for (const Supernode& node : plan.supernodes) {
      CHECK(node.columns <= plan.widest);
      check_update(plan, node.update, at);
    }

    // Elimination of K creates nothing that is not stored.
    for (const auto& set : {P, A})
      for (const auto& [r, c] : set) K[r][c] = true;
    for (const RowGroup& group : plan.groups)
      for (Index a = 0; a < group.update.rows.size(); ++a)
        for (Index b = 0; b <= a; ++b) K[plan.positions[group.update.rows.begin + a]][plan.positions[group.update.rows.begin + b]] = true;
    for (Index c = 0; c < plan.nodes; ++c)
      for (Index a = c + 1; a < plan.nodes; ++a) {
        if (!K[a][c]) continue;
        CHECK(stored[a][c]);
        for (Index b = c + 1; b <= a; ++b)
          if (K[b][c]) K[a][b] = true;
      }
    if (failures) std::fprintf(stderr, "  in structure: %s\n", name.c_str());
  }
}

TEST(the_random_structures_cover_the_kernels) {
  std::set<Index> columns, remainders;
  bool both = false, grouped = false, singleton = false, kept_inequality = false;
  for (const auto& [name, s] : structures(3)) {
    const Plan plan = make_plan(s);
    for (const Supernode& node : plan.supernodes) {
      columns.insert(node.columns);
      if (node.rows > node.columns) remainders.insert((node.rows - node.columns) % 4);
    }
    both |= plan.condensed > 0 && plan.nodes > plan.n;
    grouped |= std::any_of(plan.groups.begin(), plan.groups.end(), [](const RowGroup& g) { return g.rows.size() > 1; });
    singleton |= !plan.singletons.empty();
    for (Index i = s.zero; i < s.m; ++i) kept_inequality |= !plan.is_condensed(i);
  }
  for (Index c = 1; c <= 9; ++c) CHECK(columns.count(c));
  CHECK(remainders.size() == 4);
  CHECK(both && grouped && singleton && kept_inequality);
}
