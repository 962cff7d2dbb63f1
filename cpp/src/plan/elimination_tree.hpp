#pragma once
#include "plan/ordering.hpp"

namespace cvxl {

// Elimination tree of the graph, its edges and its cliques, under the order, then the order relabelled so that it is a postorder of
// that tree.
struct EliminationTree {
  std::vector<Index> order;    // position → node
  std::vector<Index> parent;   // position → position, -1 at roots
  Graph structure;             // position → positions below the diagonal of that column of L, ascending
};
EliminationTree analyze(const Graph& graph, const Cliques& cliques, const std::vector<Index>& order);

// Fills in what a factorization in the order costs.
void count_fill(const Graph& graph, const Cliques& cliques, Ordering& ordering);

}  // namespace cvxl
