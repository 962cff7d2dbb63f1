#include "plan/elimination_tree.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace cvxl {
namespace {

std::vector<Index> inverse(const std::vector<Index>& order) {
  std::vector<Index> position(order.size());
  for (Index k = 0; k < static_cast<Index>(order.size()); ++k) position[order[k]] = k;
  return position;
}

// Of every position its neighbours before it. Of a clique only the edges of its first node count: once that is eliminated, they
// have made all the others.
Pattern earlier_neighbours(const Graph& graph, const Cliques& cliques, const std::vector<Index>& order) {
  const std::vector<Index> position = inverse(order);
  std::vector<Index> first(static_cast<std::size_t>(cliques.rows()), std::numeric_limits<Index>::max());
  for (Index c = 0; c < cliques.rows(); ++c)
    for (Index v : cliques.row(c)) first[c] = std::min(first[c], position[v]);
  const auto each_edge = [&](auto&& visit) {  // but those of the graph, from their later ends
    for (Index c = 0; c < cliques.rows(); ++c)
      for (Index v : cliques.row(c))
        if (position[v] != first[c]) visit(position[v], first[c]);
  };
  const auto count = static_cast<Index>(order.size());
  std::vector<Index> more(order.size());
  each_edge([&](Index k, Index) { ++more[k]; });
  Pattern earlier;
  earlier.indptr.reserve(order.size() + 1);
  earlier.indices.reserve(static_cast<std::size_t>(graph.nnz() / 2 + cliques.nnz()));
  for (Index k = 0; k < count; ++k) {
    for (Index u : graph.row(order[k]))
      if (position[u] < k) earlier.indices.push_back(position[u]);
    const Index next = earlier.nnz();
    earlier.indices.resize(static_cast<std::size_t>(next + more[k]));
    more[k] = next;
    earlier.indptr.push_back(earlier.nnz());
  }
  each_edge([&](Index k, Index i) { earlier.indices[more[k]++] = i; });
  return earlier;
}

// Liu's algorithm with path compression.
std::vector<Index> find_parents(const Pattern& earlier) {
  const Index n = earlier.rows();
  std::vector<Index> parent(n, -1), ancestor(n, -1);
  for (Index k = 0; k < n; ++k)
    for (Index i : earlier.row(k))
      for (Index next; i < k && i != -1; i = next) {
        next = ancestor[i];
        if (next == k) break;
        ancestor[i] = k;
        if (next == -1) parent[i] = k;
      }
  return parent;
}

// Children in their order before their parents, what is below one child before the next.
std::vector<Index> postorder(const std::vector<Index>& parent) {
  const Index n = static_cast<Index>(parent.size());
  std::vector<Index> child(n + 1, -1), sibling(n);  // child: the first of those that are not in order; of n: roots
  for (Index k = n; k-- > 0;) {
    Index& first = child[parent[k] < 0 ? n : parent[k]];
    sibling[k] = first;
    first = k;
  }
  std::vector<Index> post;
  post.reserve(parent.size());
  for (Index node = n; post.size() < parent.size();) {
    if (const Index next = child[node]; next >= 0) {
      child[node] = sibling[next];
      node = next;
    } else {
      post.push_back(node);
      node = parent[node] < 0 ? n : parent[node];
    }
  }
  return post;
}

}  // namespace

EliminationTree analyze(const Graph& graph, const Cliques& cliques, const Ordering& ordering) {
  const Pattern earlier = earlier_neighbours(graph, cliques, ordering.order);
  const std::vector<Index> parent = find_parents(earlier), post = postorder(parent), rank = inverse(post);
  EliminationTree tree;
  tree.earlier.indptr.reserve(post.size() + 1);
  tree.earlier.indices.reserve(earlier.indices.size());
  for (Index k : post) {
    tree.order.push_back(ordering.order[k]);
    tree.parent.push_back(parent[k] < 0 ? -1 : rank[parent[k]]);
    tree.below.push_back(ordering.below[k]);
    for (Index i : earlier.row(k)) tree.earlier.indices.push_back(rank[i]);  // before k in this order, too: i is below k
    tree.earlier.indptr.push_back(tree.earlier.nnz());
  }
  return tree;
}

// Row k of L has an entry in every column on the ways from the earlier neighbours of k up to k.
void count_fill(const Graph& graph, const Cliques& cliques, Ordering& ordering) {
  const Pattern earlier = earlier_neighbours(graph, cliques, ordering.order);
  const std::vector<Index> parent = find_parents(earlier);
  std::vector<Index> below(parent.size()), seen(parent.size(), -1);
  for (Index k = 0; k < static_cast<Index>(parent.size()); ++k) {
    seen[k] = k;
    for (Index i : earlier.row(k))
      for (; seen[i] != k; i = parent[i]) {
        seen[i] = k;
        ++below[i];
      }
  }
  ordering.below.clear();
  ordering.flops = ordering.nonzeros = 0;
  for (const Index entries : below) ordering.count(entries);
}

}  // namespace cvxl
