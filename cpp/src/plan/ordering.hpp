#pragma once
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl {

// An undirected graph without self loops; adjacency lists sorted.
using Graph = std::vector<std::vector<Index>>;

// Sets of nodes, sorted, of which each is adjacent to all others of its set.
using Cliques = std::vector<std::vector<Index>>;

// An order with what a factorization costs in it.
struct Ordering {
  std::vector<Index> order;   // position → node
  std::int64_t flops = 0;     // multiply-adds of the factorization, times two
  std::int64_t nonzeros = 0;  // of L and D
};

// Exact minimum-degree order of the graph. A node in `deferred` may be eliminated only once one of its neighbours is:
// in a quasi-definite KKT matrix such a node (a constraint row) then has a pivot of healthy size instead of -delta.
Ordering minimum_degree(const Graph& graph, const std::vector<bool>& deferred);

}  // namespace cvxl
