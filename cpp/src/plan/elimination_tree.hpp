#pragma once
#include "plan/ordering.hpp"

namespace cvxl {

// Elimination tree of the graph under the order, then the order relabelled so that it is a postorder of that tree.
struct EliminationTree {
  std::vector<Index> order;    // position → node
  std::vector<Index> parent;   // position → position, -1 at roots
  Graph structure;             // position → positions below the diagonal of that column of L, ascending
};
EliminationTree analyze(const Graph& graph, const std::vector<Index>& order);

}  // namespace cvxl
