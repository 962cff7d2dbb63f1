#include "plan/quotient_graph.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

#include "plan/degree_lists.hpp"
#include "plan/elimination_tree.hpp"

namespace cvxl {
namespace {

// The graph of the nodes that are left, after Amestoy, Davis and Duff (1996). What was eliminated is an *element*: a clique of the
// nodes it was adjacent to, kept as one list. Nodes that have the same neighbours are merged into one of them, which has their weight.
// A degree counts a node twice where two elements of three or more share it: it is a bound.
//
// All lists are in one pool. That of a node, elements and neighbours, only gets shorter: where its element grows by the pivot, the
// pivot itself, or an element that the pivot absorbs, goes.
class QuotientGraph {
 public:
  QuotientGraph(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred)
      : count_(graph.rows()),
        waits_(deferred.begin(), deferred.end()),
        weight_(deferred.size(), 1),
        next_member_(deferred.size(), -1),
        last_member_(deferred.size()),
        elements_(deferred.size()),
        nodes_(deferred.size() + static_cast<std::size_t>(cliques.rows())),
        degree_(nodes_.size(), 0),
        state_(nodes_.size(), absorbed),
        sum_(deferred.size()),
        by_degree_(count_) {
    postpone_dense(graph, cliques);
    copy_lists(graph, cliques);
    for (Index v = count_; v-- > 0;)
      if (weight_[v] > 0 && !waits_[v]) by_degree_.insert(v, degree_[v]);
  }

  Ordering run(double most) {
    for (Index pivot; found_.cost() <= most && (pivot = by_degree_.take_least()) >= 0;) {
      form_element(pivot);
      measure_overlaps();
      for (Index v : front_) update(v, pivot);
      merge_indistinguishable();
      close_element(pivot);
    }
    if (found_.cost() <= most) finish();
    return std::move(found_);
  }

 private:
  struct List {
    std::size_t begin = 0;
    Index size = 0;
  };
  std::span<Index> items(const List& list) { return {pool_.data() + list.begin, static_cast<std::size_t>(list.size)}; }

  // Nodes with so many neighbours that to look at them with every pivot would cost more than it saves come last.
  void postpone_dense(const Graph& graph, const Cliques& cliques) {
    std::vector<std::int64_t> entries(static_cast<std::size_t>(count_));
    for (Index v = 0; v < count_; ++v) entries[v] = graph.indptr[v + 1] - graph.indptr[v];
    for (Index v : cliques.indices) ++entries[v];
    const double limit = std::max(16.0, 10.0 * std::sqrt(static_cast<double>(count_)));
    for (Index v = 0; v < count_; ++v)
      if (static_cast<double>(entries[v]) > limit) {
        dense_.push_back(v);
        weight_[v] = 0;
      }
    left_ = count_ - static_cast<Index>(dense_.size());
  }

  void copy_lists(const Graph& graph, const Cliques& cliques) {
    std::vector<Index> most(weight_.size());  // elements of a node
    for (Index v : cliques.indices) ++most[v];
    pool_.reserve(graph.indices.size() + 3 * cliques.indices.size());
    const auto copy = [&](List& list, std::span<const Index> from) {
      list = {pool_.size(), 0};
      for (Index u : from)
        if (weight_[u] > 0) pool_.push_back(u);
      list.size = static_cast<Index>(pool_.size() - list.begin);
    };
    for (Index v = 0; v < count_; ++v) {
      last_member_[v] = v;
      if (weight_[v] == 0) continue;
      elements_[v] = {pool_.size(), 0};
      pool_.resize(pool_.size() + static_cast<std::size_t>(most[v]));
      copy(nodes_[v], graph.row(v));
      degree_[v] = nodes_[v].size;
    }
    for (Index c = 0; c < cliques.rows(); ++c) {
      const Index e = count_ + c;
      copy(nodes_[e], cliques.row(c));
      if (nodes_[e].size < 2) continue;
      state_[e] = old;
      degree_[e] = nodes_[e].size;
      for (Index v : items(nodes_[e])) {
        pool_[elements_[v].begin + static_cast<std::size_t>(elements_[v].size++)] = e;
        degree_[v] = std::min(left_ - 1, degree_[v] + degree_[e] - 1);
      }
    }
  }

  void put_in_order(Index v, Index weight) {
    left_ -= weight;
    leaving_ += weight;
    weight_[v] = 0;
    for (Index member = v; member >= 0; member = next_member_[member]) found_.order.push_back(member);
  }

  // The front: all that are adjacent to the pivot. Its elements are absorbed.
  void form_element(Index pivot) {
    front_.clear();
    front_weight_ = leaving_ = 0;
    put_in_order(pivot, weight_[pivot]);
    const auto collect = [&](const List& list) {
      for (Index v : items(list)) {
        if (weight_[v] <= 0) continue;
        front_.push_back(v);
        front_weight_ += weight_[v];
        weight_[v] = -weight_[v];  // while it is in the front
        if (waits_[v])
          waits_[v] = 0;
        else
          by_degree_.remove(v, degree_[v]);
      }
    };
    collect(nodes_[pivot]);
    for (Index e : items(elements_[pivot]))
      if (state_[e] != absorbed) {
        collect(nodes_[e]);
        state_[e] = absorbed;
      }
  }

  // Makes `round_` larger than all states, with room for one that counts weight from there on, or a mark for each node.
  void begin_round() {
    if (round_ > std::numeric_limits<Index>::max() - 2 * (count_ + 1)) {
      for (Index& state : state_) state = std::min(state, old);
      round_ = 0;
    }
    round_ += count_ + 1;
  }

  // The state of an element that meets the front: its round, and the weight of what it has beyond the front.
  void measure_overlaps() {
    begin_round();
    const Index round = round_;
    Index* const states = state_.data();
    for (Index v : front_) {
      const Index weight = weight_[v];
      for (Index e : items(elements_[v])) {
        const Index state = states[e];
        if (state != absorbed) states[e] = (state < round ? round + degree_[e] : state) + weight;
      }
    }
  }

  // The lists of one node of the front without what the new element covers, and its degree beyond the front. A node with nothing
  // beyond is eliminated with the pivot: it fills nothing that the pivot has not.
  void update(Index v, Index pivot) {
    List &elements = elements_[v], &nodes = nodes_[v];
    const Index round = round_;
    const Index* const states = state_.data();
    const Index* const weights = weight_.data();
    std::int64_t beyond = 0;
    std::uint64_t sum = 0;
    Index *const first = pool_.data() + elements.begin, *const own = pool_.data() + nodes.begin;
    Index *kept = first, *left = own;
    for (const Index *at = first, *const end = first + elements.size; at != end; ++at) {
      const Index e = *at;
      const Index outside = states[e] - round;
      if (outside <= 0) {  // absorbed already, or by this front
        state_[e] = absorbed;
        continue;
      }
      *kept++ = e;
      beyond += outside;
      sum += static_cast<std::uint64_t>(e);
    }
    sum *= 0x9e3779b97f4a7c15u;
    for (const Index *at = own, *const end = own + nodes.size; at != end; ++at) {
      const Index u = *at, weight = weights[u];
      if (weight <= 0) continue;  // gone, or in the front
      *left++ = u;
      beyond += weight;
      sum += static_cast<std::uint64_t>(u);
    }
    nodes.size = static_cast<Index>(left - own);
    if (beyond == 0) {
      front_weight_ += weight_[v];
      put_in_order(v, -weight_[v]);
      return;
    }
    if (kept == own) {
      std::copy_backward(own, left, left + 1);
      ++nodes.begin;
    }
    *kept++ = pivot;
    elements.size = static_cast<Index>(kept - first);
    sum_[v] = sum;
    degree_[v] = static_cast<Index>(std::min<std::int64_t>(degree_[v], beyond));
  }

  // Nodes of the front with equal lists, found by the sums of these.
  void merge_indistinguishable() {
    const std::size_t slots = std::bit_ceil(2 * front_.size() + 1);
    met_.assign(slots, 0);
    const auto met = [&](Index v) -> std::uint8_t& { return met_[(sum_[v] * 0xbf58476d1ce4e5b9u >> 32) & (slots - 1)]; };
    for (Index v : front_)
      if (weight_[v] != 0) met(v) = static_cast<std::uint8_t>(met(v) == 0 ? 1 : 2);
    by_sum_.clear();
    for (Index v : front_)
      if (weight_[v] != 0 && met(v) > 1) by_sum_.emplace_back(sum_[v], v);
    std::sort(by_sum_.begin(), by_sum_.end());
    if (!by_sum_.empty()) begin_round();
    for (std::size_t i = 0; i + 1 < by_sum_.size(); ++i) {
      const auto [sum, v] = by_sum_[i];
      if (weight_[v] == 0 || by_sum_[i + 1].first != sum) continue;
      ++round_;
      const auto marked = [&](const List& list) {
        return std::ranges::all_of(items(list), [&](Index u) { return state_[u] == round_; });
      };
      for (const List& list : {elements_[v], nodes_[v]})
        for (Index u : items(list)) state_[u] = round_;
      for (std::size_t j = i + 1; j < by_sum_.size() && by_sum_[j].first == sum; ++j) {
        const Index u = by_sum_[j].second;
        if (weight_[u] != 0 && elements_[u].size == elements_[v].size && nodes_[u].size == nodes_[v].size && marked(elements_[u]) &&
            marked(nodes_[u]))
          merge(u, v);
      }
    }
  }

  void merge(Index from, Index into) {
    weight_[into] += weight_[from];
    weight_[from] = 0;
    next_member_[last_member_[into]] = from;
    last_member_[into] = last_member_[from];
  }

  void close_element(Index pivot) {
    for (Index entries = front_weight_ + leaving_; entries-- > front_weight_;) found_.count(entries);
    std::erase_if(front_, [&](Index v) { return weight_[v] == 0; });
    state_[pivot] = front_.empty() ? absorbed : old;
    degree_[pivot] = front_weight_;
    List& list = nodes_[pivot];
    if (static_cast<std::size_t>(list.size) < front_.size()) {
      list.begin = pool_.size();
      pool_.resize(pool_.size() + front_.size());
    }
    list.size = static_cast<Index>(front_.size());
    std::ranges::copy(front_, items(list).begin());
    for (Index v : front_) {
      weight_[v] = -weight_[v];
      degree_[v] = std::min(degree_[v] + front_weight_, left_) - weight_[v];
      by_degree_.insert(v, degree_[v]);
    }
  }

  // What no neighbour ever came before, and what is dense, of which what waits comes last; entries next to these were not counted.
  void finish() {
    for (const bool waiting : {false, true}) {
      for (Index v : dense_)
        if (waits_[v] == waiting) found_.order.push_back(v);
      for (Index v = 0; waiting && v < count_; ++v)
        if (weight_[v] > 0) found_.order.push_back(v);
    }
  }

  static constexpr Index absorbed = -1, old = 0;

  const Index count_;
  Index left_ = 0, round_ = 0;  // left_: weight of the nodes that are not dense and not in order
  std::vector<std::uint8_t> waits_;    // of a node: no neighbour is in order yet, and one must be
  std::vector<Index> weight_;          // of a node: 0 once it is merged into another, in order, or dense; negative in the front
  std::vector<Index> next_member_, last_member_;  // the nodes that one stands for
  std::vector<List> elements_;         // of a node: the elements it is in, some of them absorbed; then follow its nodes
  std::vector<List> nodes_;            // of a node: neighbours that no element covers; of an element: its nodes
  std::vector<Index> pool_, dense_, front_;
  std::vector<Index> degree_;  // of a node: bound on the weight of its neighbours; of an element: the weight of its nodes
  std::vector<Index> state_;  // of an element, which is numbered as its pivot, or after the nodes; of both, a mark
  std::vector<std::uint64_t> sum_;  // of the lists of a node
  DegreeLists by_degree_;              // of the nodes that need not wait
  Index front_weight_ = 0, leaving_ = 0;  // leaving_: the weight of what is eliminated with the pivot, and its own
  std::vector<std::uint8_t> met_;  // how many sums have a hash: 0, 1, or more
  std::vector<std::pair<std::uint64_t, Index>> by_sum_;
  Ordering found_;
};

}  // namespace

Ordering approximate_minimum_degree(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred, double most) {
  Ordering found = QuotientGraph(graph, cliques, deferred).run(most);
  if (found.below.size() < deferred.size() && found.order.size() == deferred.size()) count_fill(graph, cliques, found);
  return found;
}

}  // namespace cvxl
