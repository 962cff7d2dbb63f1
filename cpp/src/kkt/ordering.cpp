#include "kkt/ordering.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <unordered_map>

namespace cvxl {
namespace {

// Rows of a square boolean matrix, one bit an entry.
class BitRows {
 public:
  explicit BitRows(std::size_t n) : words_((n + 63) / 64), bits_(n * words_) {}
  void set(std::size_t i, std::size_t j) { row(i)[j / 64] |= std::uint64_t{1} << (j % 64); }
  void clear(std::size_t i, std::size_t j) { row(i)[j / 64] &= ~(std::uint64_t{1} << (j % 64)); }
  template <class F>
  void each(std::size_t i, F&& visit) const {
    for (std::size_t w = 0; w < words_; ++w) each_bit(w, bits_[i * words_ + w], visit);
  }
  // Whether every entry of row `part` is one of row `whole`.
  bool within(std::size_t part, std::size_t whole) {
    const std::uint64_t *inner = row(part), *outer = row(whole);
    for (std::size_t w = 0; w < words_; ++w)
      if (inner[w] & ~outer[w]) return false;
    return true;
  }
  // Adds the entries of row `from` to row `into`, and visits those that are new there.
  template <class F>
  void unite(std::size_t into, std::size_t from, F&& visit) {
    std::uint64_t *target = row(into), *source = row(from);
    for (std::size_t w = 0; w < words_; ++w)
      if (const std::uint64_t fresh = source[w] & ~target[w]) {
        target[w] |= fresh;
        each_bit(w, fresh, visit);
      }
  }

 private:
  template <class F>
  static void each_bit(std::size_t word, std::uint64_t bits, F&& visit) {
    for (; bits; bits &= bits - 1) visit(static_cast<Index>(word * 64 + static_cast<std::size_t>(std::countr_zero(bits))));
  }
  std::uint64_t* row(std::size_t i) { return bits_.data() + i * words_; }
  std::size_t words_;
  std::vector<std::uint64_t> bits_;
};

// Nodes with the same closed neighbourhood are eliminated together: a dense block becomes one node with a weight. Neighbourhoods
// are compared where their sums of hashes agree.
std::vector<std::vector<Index>> indistinguishable(const Graph& graph, const std::vector<bool>& deferred) {
  std::vector<std::uint64_t> hash(graph.size());
  std::iota(hash.begin(), hash.end(), 0x9e3779b97f4a7c15u);
  for (std::uint64_t& h : hash) {  // the finalizer of SplitMix64
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9u;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebu;
    h ^= h >> 31;
  }
  const auto alike = [&](Index u, Index v) {  // all but u and v themselves
    auto i = graph[u].begin(), j = graph[v].begin();
    while (true) {
      if (i != graph[u].end() && *i == v) ++i;
      if (j != graph[v].end() && *j == u) ++j;
      if (i == graph[u].end() || j == graph[v].end()) return i == graph[u].end() && j == graph[v].end();
      if (*i++ != *j++) return false;
    }
  };
  std::vector<std::vector<Index>> members;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> classes;  // of each sum
  for (Index v = 0; v < static_cast<Index>(graph.size()); ++v) {
    std::uint64_t sum = hash[v];
    for (Index u : graph[v]) sum += hash[u];
    auto& candidates = classes[sum];
    const auto same = std::find_if(candidates.begin(), candidates.end(), [&](std::size_t c) {
      const Index u = members[c][0];
      return deferred[u] == deferred[v] && std::binary_search(graph[u].begin(), graph[u].end(), v) && alike(u, v);
    });
    if (same != candidates.end()) {
      members[*same].push_back(v);
    } else {
      candidates.push_back(members.size());
      members.push_back({v});
    }
  }
  return members;
}

}  // namespace

Ordering minimum_degree(const Graph& graph, const std::vector<bool>& deferred) {
  const auto members = indistinguishable(graph, deferred);
  const std::size_t count = members.size();
  std::vector<Index> class_of(graph.size());
  for (std::size_t c = 0; c < count; ++c)
    for (Index v : members[c]) class_of[v] = static_cast<Index>(c);

  BitRows adjacent(count + 1);  // the last row stays empty: the neighbours of no node
  for (std::size_t v = 0; v < graph.size(); ++v)
    for (Index u : graph[v])
      if (class_of[u] != class_of[v]) adjacent.set(class_of[v], class_of[u]);

  // What the next node has least of: whether it must wait, then its degree; `eliminated` once it is out.
  constexpr Index wait = Index{1} << 30, eliminated = std::numeric_limits<Index>::max();
  std::vector<Index> weight(count), key(count);
  for (std::size_t c = 0; c < count; ++c) weight[c] = static_cast<Index>(members[c].size());
  for (std::size_t c = 0; c < count; ++c) {
    key[c] = weight[c] - 1 + (deferred[members[c][0]] ? wait : 0);
    adjacent.each(c, [&](Index u) { key[c] += weight[u]; });
  }

  Ordering found;
  std::vector<Index>& order = found.order;
  std::vector<Index> neighbours;
  const auto eliminate = [&](std::size_t c) {
    for (std::int64_t below = key[c] % wait, end = below - weight[c]; below > end; --below) {
      found.flops += below * (below + 3);
      found.nonzeros += below + 1;
    }
    key[c] = eliminated;
    order.insert(order.end(), members[c].begin(), members[c].end());
  };
  for (std::size_t previous = count; order.size() < graph.size();) {
    const Index least = std::reduce(key.begin(), key.end(), eliminated, [](Index a, Index b) { return std::min(a, b); });
    const auto best = static_cast<std::size_t>(std::find(key.begin(), key.end(), least) - key.begin());
    const bool last = least % wait == static_cast<Index>(graph.size() - order.size()) - 1;
    eliminate(best);
    if (last) {  // its neighbours, which are all that is left, would be a clique: they have one degree and go by their numbers
      for (std::size_t c = 0; c < count; ++c)
        if (key[c] != eliminated) {
          key[c] = static_cast<Index>(graph.size() - order.size()) - 1;
          eliminate(c);
        }
      break;
    }
    const bool clique = adjacent.within(best, previous);  // already, since `previous` was eliminated
    neighbours.clear();
    adjacent.each(best, [&](Index u) { neighbours.push_back(u); });
    for (Index u : neighbours) {
      adjacent.clear(u, best);
      key[u] = key[u] % wait - weight[best];
      if (clique) continue;
      adjacent.clear(best, u);  // for the moment: no node is its own neighbour
      adjacent.unite(u, best, [&](Index fresh) { key[u] += weight[fresh]; });
      adjacent.set(best, u);
    }
    previous = best;
  }
  return found;
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
  for (Index k = 0; k < n; ++k)
    for (Index u : graph[tree.order[k]])
      if (position[u] < k) tree.structure[position[u]].push_back(k);
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

}  // namespace cvxl
