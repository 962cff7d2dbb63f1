#pragma once
#include "plan/ordering.hpp"

namespace cvxl {

// Elimination tree of the graph, its edges and its cliques, under the order, then the order relabelled so that it is a postorder of
// that tree.
struct EliminationTree {
  std::vector<Index> order;   // position → node
  std::vector<Index> parent;  // position → position of the first entry below the diagonal of that column of L, -1 at roots
  std::vector<Index> below;   // position → number of these entries
  Pattern earlier;            // position → neighbours before it; of a clique only edges of its first node count
};
EliminationTree analyze(const Graph& graph, const Cliques& cliques, const Ordering& ordering);

// Fills in what a factorization in the order costs.
void count_fill(const Graph& graph, const Cliques& cliques, Ordering& ordering);

}  // namespace cvxl
