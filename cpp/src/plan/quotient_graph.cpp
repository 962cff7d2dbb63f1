#include "plan/quotient_graph.hpp"

#include <algorithm>
#include <cmath>

#include "plan/elimination_tree.hpp"

namespace cvxl {
namespace {

// The graph of the nodes that are left, after Amestoy, Davis and Duff (1996). What was eliminated is an *element*: a clique of the
// nodes it was adjacent to, kept as one list, so that the whole never takes more memory than the graph at the start. Nodes that
// have the same neighbours are merged into one of them, which has their weight. A degree counts a node twice where two elements of
// three or more share it: it is a bound.
class QuotientGraph {
 public:
  QuotientGraph(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred)
      : count_(static_cast<Index>(graph.size())),
        waits_(deferred),
        weight_(graph.size(), 1),
        next_member_(graph.size(), -1),
        last_member_(graph.size()),
        elements_(graph.size()),
        nodes_(graph.size() + cliques.size()),
        alive_(nodes_.size(), false),
        degree_(nodes_.size(), 0),
        outside_(nodes_.size(), 0),
        seen_(nodes_.size(), -1),
        head_(graph.size() + 1, -1),
        next_(graph.size(), -1),
        previous_(graph.size(), -1) {
    postpone_dense(graph, cliques);
    for (Index v = 0; v < count_; ++v) {
      last_member_[v] = v;
      if (weight_[v] == 0) continue;
      std::copy_if(graph[v].begin(), graph[v].end(), std::back_inserter(nodes_[v]), [&](Index u) { return weight_[u] > 0; });
      degree_[v] = static_cast<Index>(nodes_[v].size());
    }
    for (std::size_t c = 0; c < cliques.size(); ++c) {
      const Index e = count_ + static_cast<Index>(c);
      std::copy_if(cliques[c].begin(), cliques[c].end(), std::back_inserter(nodes_[e]), [&](Index u) { return weight_[u] > 0; });
      alive_[e] = nodes_[e].size() > 1;
      if (!alive_[e]) continue;
      degree_[e] = static_cast<Index>(nodes_[e].size());
      for (Index v : nodes_[e]) {
        elements_[v].push_back(e);
        degree_[v] = std::min(left_ - 1, degree_[v] + degree_[e] - 1);
      }
    }
    for (Index v = count_; v-- > 0;)
      if (weight_[v] > 0 && !waits_[v]) insert(v);
  }

  std::vector<Index> run() && {
    for (Index pivot; (pivot = take_least()) >= 0;) {
      form_element(pivot);
      measure_overlaps();
      for (Index v : front_) update(v, pivot);
      merge_indistinguishable();
      close_element(pivot);
    }
    for (const bool waiting : {false, true}) {  // what is dense, then what no neighbour ever came before
      for (Index v : dense_)
        if (waits_[v] == waiting) order_.push_back(v);
      for (Index v = 0; waiting && v < count_; ++v)
        if (weight_[v] > 0) order_.push_back(v);
    }
    return std::move(order_);
  }

 private:
  // Nodes with so many neighbours that to look at them with every pivot would cost more than it saves come last.
  void postpone_dense(const Graph& graph, const Cliques& cliques) {
    std::vector<std::int64_t> entries(graph.size());
    for (Index v = 0; v < count_; ++v) entries[v] = static_cast<std::int64_t>(graph[v].size());
    for (const auto& clique : cliques)
      for (Index v : clique) ++entries[v];
    const double limit = std::max(16.0, 10.0 * std::sqrt(static_cast<double>(count_)));
    for (Index v = 0; v < count_; ++v)
      if (static_cast<double>(entries[v]) > limit) {
        dense_.push_back(v);
        weight_[v] = 0;
      }
    left_ = count_ - static_cast<Index>(dense_.size());
  }

  void insert(Index v) {
    const Index d = degree_[v];
    previous_[v] = -1;
    next_[v] = head_[d];
    if (head_[d] >= 0) previous_[head_[d]] = v;
    head_[d] = v;
    least_ = std::min(least_, d);
  }

  void remove(Index v) {
    (previous_[v] >= 0 ? next_[previous_[v]] : head_[degree_[v]]) = next_[v];
    if (next_[v] >= 0) previous_[next_[v]] = previous_[v];
  }

  Index take_least() {
    while (least_ < count_ && head_[least_] < 0) ++least_;
    if (least_ == count_) return -1;
    const Index v = head_[least_];
    remove(v);
    return v;
  }

  void put_in_order(Index v) {
    left_ -= weight_[v];
    weight_[v] = 0;
    for (Index member = v; member >= 0; member = next_member_[member]) order_.push_back(member);
  }

  // The front: all that are adjacent to the pivot. Its elements are absorbed.
  void form_element(Index pivot) {
    ++round_;
    front_.clear();
    front_weight_ = 0;
    put_in_order(pivot);
    const auto collect = [&](const std::vector<Index>& list) {
      for (Index v : list) {
        if (weight_[v] == 0 || seen_[v] == round_) continue;
        seen_[v] = round_;
        front_.push_back(v);
        front_weight_ += weight_[v];
        waits_[v] ? void(waits_[v] = false) : remove(v);
      }
    };
    collect(nodes_[pivot]);
    for (Index e : elements_[pivot])
      if (alive_[e]) {
        collect(nodes_[e]);
        kill(e);
      }
    elements_[pivot] = {};
  }

  void kill(Index e) {
    alive_[e] = false;
    nodes_[e] = {};
  }

  // outside_[e]: the weight of what element e has beyond the front, for all that meet it.
  void measure_overlaps() {
    for (Index v : front_)
      for (Index e : elements_[v]) {
        if (!alive_[e]) continue;
        if (seen_[e] != round_) {
          seen_[e] = round_;
          outside_[e] = degree_[e];
        }
        outside_[e] -= weight_[v];
      }
  }

  // The lists of one node of the front without what the new element covers, and its degree beyond the front. A node with nothing
  // beyond is eliminated with the pivot: it fills nothing that the pivot has not.
  void update(Index v, Index pivot) {
    Index beyond = 0;
    auto& elements = elements_[v];
    std::size_t kept = 0;
    for (Index e : elements) {
      if (alive_[e] && outside_[e] == 0) kill(e);
      if (!alive_[e]) continue;
      elements[kept++] = e;
      beyond += outside_[e];
    }
    elements.resize(kept);
    std::erase_if(nodes_[v], [&](Index u) { return weight_[u] == 0 || seen_[u] == round_; });
    for (Index u : nodes_[v]) beyond += weight_[u];
    if (beyond == 0) {
      front_weight_ -= weight_[v];
      put_in_order(v);
      nodes_[v] = {};
      elements = {};
    } else {
      elements.push_back(pivot);
      degree_[v] = std::min(degree_[v], beyond);
    }
  }

  // Nodes of the front with equal lists, found by the sums of these.
  void merge_indistinguishable() {
    sums_.clear();
    for (Index v : front_) {
      if (weight_[v] == 0) continue;
      std::uint64_t sum = 0;
      for (Index e : elements_[v]) sum += static_cast<std::uint64_t>(e) * 0x9e3779b97f4a7c15u;
      for (Index u : nodes_[v]) sum += static_cast<std::uint64_t>(u) * 0xbf58476d1ce4e5b9u;
      sums_.emplace_back(sum, v);
    }
    std::sort(sums_.begin(), sums_.end());
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      const Index v = sums_[i].second;
      if (weight_[v] == 0 || i + 1 == sums_.size() || sums_[i + 1].first != sums_[i].first) continue;
      ++round_;
      for (Index e : elements_[v]) seen_[e] = round_;
      for (Index u : nodes_[v]) seen_[u] = round_;
      const auto marked = [&](Index u) { return seen_[u] == round_; };
      for (std::size_t j = i + 1; j < sums_.size() && sums_[j].first == sums_[i].first; ++j) {
        const Index u = sums_[j].second;
        if (weight_[u] > 0 && elements_[u].size() == elements_[v].size() && nodes_[u].size() == nodes_[v].size() &&
            std::ranges::all_of(elements_[u], marked) && std::ranges::all_of(nodes_[u], marked))
          merge(u, v);
      }
    }
  }

  void merge(Index from, Index into) {
    weight_[into] += weight_[from];
    weight_[from] = 0;
    next_member_[last_member_[into]] = from;
    last_member_[into] = last_member_[from];
    nodes_[from] = {};
    elements_[from] = {};
  }

  void close_element(Index pivot) {
    std::erase_if(front_, [&](Index v) { return weight_[v] == 0; });
    nodes_[pivot].assign(front_.begin(), front_.end());
    degree_[pivot] = front_weight_;
    alive_[pivot] = !front_.empty();
    for (Index v : front_) {
      degree_[v] = std::min(degree_[v] + front_weight_, left_) - weight_[v];
      insert(v);
    }
  }

  const Index count_;
  Index left_ = 0;                     // weight of the nodes that are not dense and not in order
  std::vector<bool> waits_;            // of a node: no neighbour is in order yet, and one must be
  std::vector<Index> weight_;          // of a node: 0 once it is merged into another, in order, or dense
  std::vector<Index> next_member_, last_member_;  // the nodes that one stands for
  Cliques elements_;                   // of a node: the elements it is in, some of them absorbed
  Cliques nodes_;                      // of a node: neighbours that no element covers; of an element: its nodes
  std::vector<bool> alive_;            // of an element, which is numbered as its pivot, or after the nodes: not absorbed
  std::vector<Index> degree_;  // of a node: bound on the weight of its neighbours; of an element: the weight of its nodes
  std::vector<Index> outside_;
  std::vector<std::int64_t> seen_;  // the last round in which a node or an element was met
  std::int64_t round_ = 0;
  std::vector<Index> head_, next_, previous_;  // lists of the nodes of each degree that need not wait
  Index least_ = 0;  // none has a lower degree
  std::vector<Index> front_;
  Index front_weight_ = 0;
  std::vector<std::pair<std::uint64_t, Index>> sums_;
  std::vector<Index> dense_, order_;
};

}  // namespace

Ordering approximate_minimum_degree(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred) {
  Ordering found;
  found.order = QuotientGraph(graph, cliques, deferred).run();
  count_fill(graph, cliques, found);
  return found;
}

}  // namespace cvxl
