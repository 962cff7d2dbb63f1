#include "plan/elimination_tree.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

namespace cvxl {
namespace {

std::vector<Index> inverse(const std::vector<Index>& order) {
  std::vector<Index> position(order.size());
  for (Index k = 0; k < static_cast<Index>(order.size()); ++k) position[order[k]] = k;
  return position;
}

// Of every position its neighbours before it. Of a clique only the edges of its first node count: once that is eliminated, they
// have made all the others.
Graph earlier_neighbours(const Graph& graph, const Cliques& cliques, const std::vector<Index>& order) {
  const std::vector<Index> position = inverse(order);
  Graph earlier(order.size());
  for (Index k = 0; k < static_cast<Index>(order.size()); ++k)
    for (Index u : graph[order[k]])
      if (position[u] < k) earlier[k].push_back(position[u]);
  for (const auto& clique : cliques) {
    Index first = std::numeric_limits<Index>::max();
    for (Index v : clique) first = std::min(first, position[v]);
    for (Index v : clique)
      if (position[v] != first) earlier[position[v]].push_back(first);
  }
  return earlier;
}

// Liu's algorithm with path compression.
std::vector<Index> find_parents(const Graph& earlier) {
  const Index n = static_cast<Index>(earlier.size());
  std::vector<Index> parent(n, -1), ancestor(n, -1);
  for (Index k = 0; k < n; ++k)
    for (Index i : earlier[k])
      for (Index next; i < k && i != -1; i = next) {
        next = ancestor[i];
        if (next == k) break;
        ancestor[i] = k;
        if (next == -1) parent[i] = k;
      }
  return parent;
}

std::vector<Index> postorder(const std::vector<Index>& parent) {
  const Index n = static_cast<Index>(parent.size());
  std::vector<std::vector<Index>> children(n + 1);
  for (Index k = 0; k < n; ++k) children[parent[k] < 0 ? n : parent[k]].push_back(k);
  std::vector<Index> post;
  std::vector<std::pair<Index, std::size_t>> stack{{n, 0}};
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next < children[node].size()) {
      const Index child = children[node][next++];
      stack.push_back({child, 0});
    } else {
      if (node < n) post.push_back(node);
      stack.pop_back();
    }
  }
  return post;
}

// struct(j) = (neighbours of j after j) ∪ (struct of children) \ {j}
Graph find_structure(const Graph& earlier, const std::vector<Index>& parent) {
  const Index n = static_cast<Index>(parent.size());
  Graph structure(n);
  for (Index k = 0; k < n; ++k)
    for (Index i : earlier[k])
      if (structure[i].empty() || structure[i].back() != k) structure[i].push_back(k);
  std::vector<Index> merged;
  for (Index j = 0; j < n; ++j) {
    const Index p = parent[j];
    if (p < 0) continue;
    merged.clear();
    std::set_union(structure[j].begin() + 1, structure[j].end(), structure[p].begin(), structure[p].end(),
                   std::back_inserter(merged));
    structure[p].assign(merged.begin(), merged.end());
  }
  return structure;
}

}  // namespace

EliminationTree analyze(const Graph& graph, const Cliques& cliques, const std::vector<Index>& order) {
  const std::vector<Index> parent = find_parents(earlier_neighbours(graph, cliques, order)), post = postorder(parent);
  const std::vector<Index> rank = inverse(post);
  EliminationTree tree;
  for (Index k : post) {
    tree.order.push_back(order[k]);
    tree.parent.push_back(parent[k] < 0 ? -1 : rank[parent[k]]);
  }
  tree.structure = find_structure(earlier_neighbours(graph, cliques, tree.order), tree.parent);
  return tree;
}

// Row k of L has an entry in every column on the ways from the earlier neighbours of k up to k.
void count_fill(const Graph& graph, const Cliques& cliques, Ordering& ordering) {
  const Graph earlier = earlier_neighbours(graph, cliques, ordering.order);
  const std::vector<Index> parent = find_parents(earlier);
  std::vector<std::int64_t> below(parent.size());
  std::vector<Index> seen(parent.size(), -1);
  for (Index k = 0; k < static_cast<Index>(parent.size()); ++k) {
    seen[k] = k;
    for (Index i : earlier[k])
      for (; seen[i] != k; i = parent[i]) {
        seen[i] = k;
        ++below[i];
      }
  }
  ordering.flops = ordering.nonzeros = 0;
  for (const std::int64_t entries : below) {
    ordering.flops += entries * (entries + 3);
    ordering.nonzeros += entries + 1;
  }
}

}  // namespace cvxl
