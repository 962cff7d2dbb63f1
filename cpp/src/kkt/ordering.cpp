#include "kkt/ordering.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>

namespace cvxl {
namespace {

// Rows of a square boolean matrix, one bit an entry.
class BitRows {
 public:
  explicit BitRows(std::size_t n) : words_((n + 63) / 64), bits_(n * words_) {}
  void set(std::size_t i, std::size_t j) { row(i)[j / 64] |= std::uint64_t{1} << (j % 64); }
  void clear(std::size_t i, std::size_t j) { row(i)[j / 64] &= ~(std::uint64_t{1} << (j % 64)); }
  void unite(std::size_t into, std::size_t from) {
    for (std::size_t w = 0; w < words_; ++w) row(into)[w] |= row(from)[w];
  }
  template <class F>
  void each(std::size_t i, F&& visit) const {
    for (std::size_t w = 0; w < words_; ++w)
      for (std::uint64_t bits = bits_[i * words_ + w]; bits; bits &= bits - 1)
        visit(static_cast<Index>(w * 64 + static_cast<std::size_t>(std::countr_zero(bits))));
  }

 private:
  std::uint64_t* row(std::size_t i) { return bits_.data() + i * words_; }
  std::size_t words_;
  std::vector<std::uint64_t> bits_;
};

// Nodes with the same closed neighbourhood are eliminated together: a dense block becomes one node with a weight.
std::vector<std::vector<Index>> indistinguishable(const Graph& graph, const std::vector<bool>& deferred) {
  std::map<std::pair<bool, std::vector<Index>>, std::vector<Index>> classes;
  for (Index v = 0; v < static_cast<Index>(graph.size()); ++v) {
    std::vector<Index> closed = graph[v];
    closed.insert(std::lower_bound(closed.begin(), closed.end(), v), v);
    classes[{deferred[v], std::move(closed)}].push_back(v);
  }
  std::vector<std::vector<Index>> members;
  for (auto& [key, nodes] : classes) members.push_back(std::move(nodes));
  std::sort(members.begin(), members.end());
  return members;
}

}  // namespace

std::vector<Index> minimum_degree(const Graph& graph, const std::vector<bool>& deferred) {
  const auto members = indistinguishable(graph, deferred);
  const std::size_t count = members.size();
  std::vector<Index> class_of(graph.size());
  for (std::size_t c = 0; c < count; ++c)
    for (Index v : members[c]) class_of[v] = static_cast<Index>(c);

  BitRows adjacent(count);
  for (std::size_t v = 0; v < graph.size(); ++v)
    for (Index u : graph[v])
      if (class_of[u] != class_of[v]) adjacent.set(class_of[v], class_of[u]);

  std::vector<std::int64_t> degree(count);
  const auto update_degree = [&](std::size_t c) {
    degree[c] = static_cast<std::int64_t>(members[c].size()) - 1;
    adjacent.each(c, [&](Index u) { degree[c] += static_cast<std::int64_t>(members[u].size()); });
  };
  std::vector<bool> waiting(count), done(count);
  for (std::size_t c = 0; c < count; ++c) {
    update_degree(c);
    waiting[c] = deferred[members[c][0]];
  }

  std::vector<Index> order;
  for (std::size_t step = 0; step < count; ++step) {
    std::size_t best = count;
    for (std::size_t c = 0; c < count; ++c)
      if (!done[c] && (best == count || std::pair(waiting[c], degree[c]) < std::pair(waiting[best], degree[best]))) best = c;
    done[best] = true;
    order.insert(order.end(), members[best].begin(), members[best].end());
    std::vector<Index> neighbours;
    adjacent.each(best, [&](Index u) { neighbours.push_back(u); });
    for (Index u : neighbours) {
      adjacent.unite(u, best);
      adjacent.clear(u, u);
      adjacent.clear(u, best);
      waiting[u] = false;
    }
    for (Index u : neighbours) update_degree(u);
  }
  return order;
}

EliminationTree analyze(const Graph& graph, const std::vector<Index>& order) {
  const Index n = static_cast<Index>(order.size());
  std::vector<Index> position(n);
  for (Index k = 0; k < n; ++k) position[order[k]] = k;

  // Liu's algorithm with path compression.
  std::vector<Index> parent(n, -1), ancestor(n, -1);
  for (Index k = 0; k < n; ++k)
    for (Index u : graph[order[k]])
      for (Index i = position[u], next; i < k && i != -1; i = next) {
        next = ancestor[i];
        if (next == k) break;
        ancestor[i] = k;
        if (next == -1) parent[i] = k;
      }

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

  EliminationTree tree;
  std::vector<Index> rank(n);
  for (Index k = 0; k < n; ++k) rank[post[k]] = k;
  tree.order.resize(n);
  tree.parent.resize(n);
  for (Index k = 0; k < n; ++k) {
    tree.order[rank[k]] = order[k];
    tree.parent[rank[k]] = parent[k] < 0 ? -1 : rank[parent[k]];
  }
  for (Index k = 0; k < n; ++k) position[tree.order[k]] = k;

  // struct(j) = (neighbours of j after j) ∪ (struct of children) \ {j}
  tree.structure.resize(n);
  for (Index j = 0; j < n; ++j) {
    auto& column = tree.structure[j];
    for (Index u : graph[tree.order[j]])
      if (position[u] > j) column.push_back(position[u]);
    std::sort(column.begin(), column.end());
  }
  for (Index j = 0; j < n; ++j) {
    const Index p = tree.parent[j];
    if (p < 0) continue;
    std::vector<Index> merged;
    std::set_union(tree.structure[j].begin() + 1, tree.structure[j].end(), tree.structure[p].begin(), tree.structure[p].end(),
                   std::back_inserter(merged));
    tree.structure[p] = std::move(merged);
  }
  return tree;
}

std::int64_t EliminationTree::flops() const {
  return std::accumulate(structure.begin(), structure.end(), std::int64_t{0}, [](std::int64_t sum, const auto& column) {
    const auto count = static_cast<std::int64_t>(column.size());
    return sum + count * (count + 3);
  });
}

std::int64_t EliminationTree::nonzeros() const {
  return std::accumulate(structure.begin(), structure.end(), static_cast<std::int64_t>(structure.size()),
                         [](std::int64_t sum, const auto& column) { return sum + static_cast<std::int64_t>(column.size()); });
}

}  // namespace cvxl
