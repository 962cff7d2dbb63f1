#pragma once
#include <algorithm>
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl {

// Nodes by degree; those of one degree are taken last in, first out.
class DegreeLists {
 public:
  explicit DegreeLists(Index count)
      : head_(static_cast<std::size_t>(count) + 1, -1), next_(head_.size(), -1), previous_(head_.size(), -1) {}

  void insert(Index v, Index degree) {
    previous_[v] = -1;
    next_[v] = head_[degree];
    if (head_[degree] >= 0) previous_[head_[degree]] = v;
    head_[degree] = v;
    least_ = std::min(least_, degree);
  }

  void remove(Index v, Index degree) {
    (previous_[v] >= 0 ? next_[previous_[v]] : head_[degree]) = next_[v];
    if (next_[v] >= 0) previous_[next_[v]] = previous_[v];
  }

  // A node of the least degree, or -1.
  Index take_least() {
    while (least_ < static_cast<Index>(head_.size()) && head_[least_] < 0) ++least_;
    if (least_ == static_cast<Index>(head_.size())) return -1;
    const Index v = head_[least_];
    remove(v, least_);
    return v;
  }

 private:
  std::vector<Index> head_, next_, previous_;
  Index least_ = 0;  // none has a lower degree
};

}  // namespace cvxl
