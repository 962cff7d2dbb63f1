#include "plan/ordering.hpp"

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
  Index count(std::size_t i) const {
    int sum = 0;
    for (std::size_t w = 0; w < words_; ++w) sum += std::popcount(bits_[i * words_ + w]);
    return sum;
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

// The graph of the nodes that are left, by classes of indistinguishable ones.
class Elimination {
 public:
  Elimination(const Graph& graph, const std::vector<bool>& deferred)
      : members_(indistinguishable(graph, deferred)), left_(static_cast<Index>(graph.size())), adjacent_(members_.size() + 1) {
    const std::size_t count = members_.size();
    std::vector<Index> class_of(graph.size());
    for (std::size_t c = 0; c < count; ++c)
      for (Index v : members_[c]) class_of[v] = static_cast<Index>(c);
    for (std::size_t v = 0; v < graph.size(); ++v)
      for (Index u : graph[v])
        if (class_of[u] != class_of[v]) adjacent_.set(class_of[v], class_of[u]);
    for (const auto& nodes : members_) weight_.push_back(static_cast<Index>(nodes.size()));
    for (std::size_t c = 0; c < count; ++c) {
      key_.push_back(weight_[c] - 1 + (deferred[members_[c][0]] ? wait : 0));
      if (count == graph.size())  // every weight is 1
        key_[c] += adjacent_.count(c);
      else
        adjacent_.each(c, [&](Index u) { key_[c] += weight_[u]; });
    }
  }

  Ordering run() && {
    for (std::size_t previous = members_.size(); left_ > 0;) {
      const Index least = std::reduce(key_.begin(), key_.end(), eliminated, [](Index a, Index b) { return std::min(a, b); });
      const auto best = static_cast<std::size_t>(std::find(key_.begin(), key_.end(), least) - key_.begin());
      const bool last = least % wait == left_ - 1;
      eliminate(best);
      if (last) {
        eliminate_clique();
      } else {
        connect_neighbours(best, previous);
        previous = best;
      }
    }
    return std::move(found_);
  }

 private:
  void eliminate(std::size_t c) {
    for (std::int64_t below = key_[c] % wait, end = below - weight_[c]; below > end; --below) {
      found_.flops += below * (below + 3);
      found_.nonzeros += below + 1;
    }
    key_[c] = eliminated;
    left_ -= weight_[c];
    found_.order.insert(found_.order.end(), members_[c].begin(), members_[c].end());
  }

  // The neighbours of a node, where they are all that is left, would be a clique: they have one degree and go by their numbers.
  void eliminate_clique() {
    for (std::size_t c = 0; c < members_.size(); ++c)
      if (key_[c] != eliminated) {
        key_[c] = left_ - 1;
        eliminate(c);
      }
  }

  void connect_neighbours(std::size_t best, std::size_t previous) {
    const bool clique = adjacent_.within(best, previous);  // already, since `previous` was eliminated
    neighbours_.clear();
    adjacent_.each(best, [&](Index u) { neighbours_.push_back(u); });
    for (Index u : neighbours_) {
      adjacent_.clear(u, best);
      key_[u] = key_[u] % wait - weight_[best];
      if (clique) continue;
      adjacent_.clear(best, u);  // for the moment: no node is its own neighbour
      adjacent_.unite(u, best, [&](Index fresh) { key_[u] += weight_[fresh]; });
      adjacent_.set(best, u);
    }
  }

  static constexpr Index wait = Index{1} << 30, eliminated = std::numeric_limits<Index>::max();

  const std::vector<std::vector<Index>> members_;
  Index left_;              // nodes
  BitRows adjacent_;        // of classes; the last row stays empty: the neighbours of no class
  std::vector<Index> weight_;
  std::vector<Index> key_;  // what the next class has least of: whether it must wait, then its degree; `eliminated` once it is out
  std::vector<Index> neighbours_;
  Ordering found_;
};

}  // namespace

Ordering minimum_degree(const Graph& graph, const std::vector<bool>& deferred) { return Elimination(graph, deferred).run(); }

}  // namespace cvxl
