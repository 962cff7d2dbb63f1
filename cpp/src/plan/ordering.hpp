#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl {

// An undirected graph without self loops: the neighbours of every node, ascending.
using Graph = Pattern;

// Sets of nodes, ascending, of which each is adjacent to all others of its set.
using Cliques = Pattern;

// An order with what a factorization costs in it.
struct Ordering {
  std::vector<Index> order;   // position → node
  std::vector<Index> below;   // position → entries of that column of L below the diagonal
  std::int64_t flops = 0;     // multiply-adds of the factorization, times two
  std::int64_t nonzeros = 0;  // of L and D

  // Flops of a factorization and of the five or so solves that go with it.
  double cost() const { return static_cast<double>(flops) + 20.0 * static_cast<double>(nonzeros); }

  // A column with so many entries below the diagonal.
  void count(Index entries) {
    below.push_back(entries);
    flops += std::int64_t{entries} * (entries + 3);
    nonzeros += entries + 1;
  }
};

// A cost beyond which an order is of no use: what exceeds it may be given up, and lacks nodes.
constexpr double any_cost = std::numeric_limits<double>::infinity();

// Exact minimum-degree order of the graph in which, besides its edges, the nodes of every clique are adjacent to each other. A node
// in `deferred` may be eliminated only once one of its neighbours is: in a quasi-definite KKT matrix such a node (a constraint row)
// then has a pivot of healthy size instead of -delta.
Ordering minimum_degree(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred, double most = any_cost);

}  // namespace cvxl
