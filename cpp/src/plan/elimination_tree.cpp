#include "plan/elimination_tree.hpp"

#include <algorithm>
#include <iterator>

namespace cvxl {
namespace {

std::vector<Index> inverse(const std::vector<Index>& order) {
  std::vector<Index> position(order.size());
  for (Index k = 0; k < static_cast<Index>(order.size()); ++k) position[order[k]] = k;
  return position;
}

// Liu's algorithm with path compression.
std::vector<Index> find_parents(const Graph& graph, const std::vector<Index>& order) {
  const Index n = static_cast<Index>(order.size());
  const std::vector<Index> position = inverse(order);
  std::vector<Index> parent(n, -1), ancestor(n, -1);
  for (Index k = 0; k < n; ++k)
    for (Index u : graph[order[k]])
      for (Index i = position[u], next; i < k && i != -1; i = next) {
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
Graph find_structure(const Graph& graph, const std::vector<Index>& order, const std::vector<Index>& parent) {
  const Index n = static_cast<Index>(order.size());
  const std::vector<Index> position = inverse(order);
  Graph structure(n);
  for (Index k = 0; k < n; ++k)
    for (Index u : graph[order[k]])
      if (position[u] < k) structure[position[u]].push_back(k);
  for (Index j = 0; j < n; ++j) {
    const Index p = parent[j];
    if (p < 0) continue;
    std::vector<Index> merged;
    std::set_union(structure[j].begin() + 1, structure[j].end(), structure[p].begin(), structure[p].end(),
                   std::back_inserter(merged));
    structure[p] = std::move(merged);
  }
  return structure;
}

}  // namespace

EliminationTree analyze(const Graph& graph, const std::vector<Index>& order) {
  const std::vector<Index> parent = find_parents(graph, order), post = postorder(parent), rank = inverse(post);
  EliminationTree tree;
  for (Index k : post) {
    tree.order.push_back(order[k]);
    tree.parent.push_back(parent[k] < 0 ? -1 : rank[parent[k]]);
  }
  tree.structure = find_structure(graph, tree.order, tree.parent);
  return tree;
}

}  // namespace cvxl
