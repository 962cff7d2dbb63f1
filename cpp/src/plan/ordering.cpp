#include "plan/ordering.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <span>

namespace cvxl {
namespace {

using Word = std::uint64_t;

// Rows of a square boolean matrix, one bit an entry.
class BitRows {
 public:
  explicit BitRows(std::size_t n) : words_((n + 63) / 64), bits_(n * words_) {}
  void set(std::size_t i, std::size_t j) { row(i)[j / 64] |= Word{1} << (j % 64); }
  void clear(std::size_t i, std::size_t j) { row(i)[j / 64] &= ~(Word{1} << (j % 64)); }
  std::span<Word> row(std::size_t i) { return {bits_.data() + i * words_, words_}; }
  std::span<const Word> row(std::size_t i) const { return {bits_.data() + i * words_, words_}; }
  template <class F>
  void each(std::size_t i, F&& visit) const {
    for (std::size_t w = 0; w < words_; ++w) each_bit(w, bits_[i * words_ + w], visit);
  }
  template <class F>
  static void each_bit(std::size_t word, Word bits, F&& visit) {
    for (; bits; bits &= bits - 1) visit(static_cast<Index>(word * 64 + static_cast<std::size_t>(std::countr_zero(bits))));
  }

 private:
  std::size_t words_;
  std::vector<Word> bits_;
};

// The neighbours of every node, and the node itself.
BitRows closed_neighbourhoods(const Graph& graph, const Cliques& cliques) {
  const auto count = static_cast<std::size_t>(graph.rows());
  BitRows closed(count);
  for (std::size_t v = 0; v < count; ++v) {
    closed.set(v, v);
    for (Index u : graph.row(static_cast<Index>(v))) closed.set(v, u);
  }
  BitRows members(count);  // of one clique, in the first row
  for (Index c = 0; c < cliques.rows(); ++c) {
    for (Index v : cliques.row(c)) members.set(0, v);
    for (Index v : cliques.row(c)) {
      const auto own = closed.row(v);
      for (std::size_t w = 0; w < own.size(); ++w) own[w] |= members.row(0)[w];
    }
    for (Index v : cliques.row(c)) members.clear(0, v);
  }
  return closed;
}

// The class of every node, by number: those with the same closed neighbourhood are eliminated together, so that a dense block becomes
// one node with a weight. Classes are numbered in the order of their first nodes.
std::vector<Index> indistinguishable(const BitRows& closed, const std::vector<bool>& deferred) {
  const std::size_t count = deferred.size(), slots = std::bit_ceil(2 * count + 1);
  std::vector<Index> class_of(count), first, table(slots, -1);  // table: classes by hash
  for (std::size_t v = 0; v < count; ++v) {
    Word hash = deferred[v];
    for (const Word word : closed.row(v)) hash = (hash ^ word ^ (hash >> 29)) * 0xbf58476d1ce4e5b9u;
    std::size_t slot = (hash >> 32) & (slots - 1);
    const auto differs = [&](Index c) {
      return deferred[first[c]] != deferred[v] || !std::ranges::equal(closed.row(first[c]), closed.row(v));
    };
    while (table[slot] >= 0 && differs(table[slot])) slot = (slot + 1) & (slots - 1);
    if (table[slot] < 0) {
      table[slot] = static_cast<Index>(first.size());
      first.push_back(static_cast<Index>(v));
    }
    class_of[v] = table[slot];
  }
  return class_of;
}

// The nodes of every class.
Pattern members_of(const std::vector<Index>& class_of) {
  Pattern members;
  for (Index v = 0; v < static_cast<Index>(class_of.size()); ++v) {
    members.indptr.resize(std::max<std::size_t>(members.indptr.size(), class_of[v] + 2));
    ++members.indptr[class_of[v] + 1];
  }
  std::partial_sum(members.indptr.begin(), members.indptr.end(), members.indptr.begin());
  members.indices.resize(class_of.size());
  std::vector<Index> next = members.indptr;
  for (Index v = 0; v < static_cast<Index>(class_of.size()); ++v) members.indices[next[class_of[v]]++] = v;
  return members;
}

constexpr Index wait = Index{1} << 30, eliminated = std::numeric_limits<Index>::max();

// What the next class has least of, of every class: whether it must wait, then its degree; `eliminated` once it is out.
class Keys {
 public:
  explicit Keys(std::size_t count) : keys_((count + block - 1) / block * block, eliminated), least_(keys_.size() / block, stale) {}
  Index operator[](std::size_t c) const { return keys_[c]; }
  void set(std::size_t c, Index key) {
    keys_[c] = key;
    least_[c / block] = stale;
  }
  // The first class with the least key.
  Index first_least() {
    std::size_t best = 0;
    for (std::size_t b = 0; b < least_.size(); ++b) {
      const auto own = std::span(keys_).subspan(b * block, block);
      if (least_[b] == stale)
        least_[b] = std::reduce(own.begin(), own.end(), eliminated, [](Index i, Index j) { return std::min(i, j); });
      if (least_[b] < least_[best]) best = b;
    }
    const auto from = keys_.begin() + static_cast<std::ptrdiff_t>(best * block);
    return static_cast<Index>(std::find(from, keys_.end(), least_[best]) - keys_.begin());
  }

 private:
  static constexpr std::size_t block = 32;
  static constexpr Index stale = -1;
  std::vector<Index> keys_, least_;  // least_: of a block, or stale
};

// The graph of the nodes that are left, by classes of indistinguishable ones.
class Elimination {
 public:
  Elimination(const BitRows& closed, const Pattern& members, const std::vector<Index>& class_of, const std::vector<bool>& deferred)
      : members_(members),
        left_(members.nnz()),
        adjacent_(static_cast<std::size_t>(members.rows()) + 1),
        keys_(static_cast<std::size_t>(members.rows())) {
    for (Index c = 0; c < members.rows(); ++c) {
      const Index first = members.row(c)[0];
      Index key = (deferred[first] ? wait : 0) - 1;
      closed.each(first, [&](Index u) {
        adjacent_.set(c, class_of[u]);
        ++key;
      });
      keys_.set(c, key);
      weight_.push_back(members.indptr[c + 1] - members.indptr[c]);
    }
    found_.order.reserve(class_of.size());
    found_.below.reserve(class_of.size());
  }

  Ordering run(double most) && {
    for (Index previous = members_.rows(); left_ > 0 && found_.cost() <= most;) {
      const Index best = keys_.first_least();
      const bool last = keys_[best] % wait == left_ - 1;
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
  void eliminate(Index c) {
    for (Index below = keys_[c] % wait, end = below - weight_[c]; below > end; --below) found_.count(below);
    keys_.set(c, eliminated);
    left_ -= weight_[c];
    for (Index v : members_.row(c)) found_.order.push_back(v);
  }

  // The neighbours of a node, where they are all that is left, would be a clique: they have one degree and go by their numbers.
  void eliminate_clique() {
    for (Index c = 0; c < members_.rows(); ++c)
      if (keys_[c] != eliminated) {
        keys_.set(c, left_ - 1);
        eliminate(c);
      }
  }

  void connect_neighbours(Index best, Index previous) {
    adjacent_.clear(best, best);
    const auto own = adjacent_.row(best), last = adjacent_.row(previous);
    neighbours_.clear(), words_.clear();
    bool clique = true;  // already, since `previous` was eliminated
    for (std::size_t w = 0; w < own.size(); ++w) {
      if (own[w] == 0) continue;
      words_.push_back(w);
      clique = clique && (own[w] & ~last[w]) == 0;
      BitRows::each_bit(w, own[w], [&](Index u) { neighbours_.push_back(u); });
    }
    if (clique) words_.clear();
    for (Index u : neighbours_) {
      adjacent_.clear(u, best);
      Index key = keys_[u] % wait - weight_[best];
      const auto row = adjacent_.row(u);
      for (const std::size_t w : words_) {
        const Word fresh = own[w] & ~row[w];
        row[w] |= fresh;
        BitRows::each_bit(w, fresh, [&](Index v) { key += weight_[v]; });
      }
      keys_.set(u, key);
    }
  }

  const Pattern& members_;  // of every class
  Index left_;        // nodes
  BitRows adjacent_;  // of classes, to others and to themselves; the last row stays empty: the neighbours of no class
  Keys keys_;
  std::vector<Index> weight_, neighbours_;
  std::vector<std::size_t> words_;  // in which the neighbours are
  Ordering found_;
};

}  // namespace

Ordering minimum_degree(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred, double most) {
  const BitRows closed = closed_neighbourhoods(graph, cliques);
  const std::vector<Index> class_of = indistinguishable(closed, deferred);
  const Pattern members = members_of(class_of);
  return Elimination(closed, members, class_of, deferred).run(most);
}

}  // namespace cvxl
