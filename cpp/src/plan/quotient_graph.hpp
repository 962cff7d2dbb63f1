#pragma once
#include "plan/ordering.hpp"

namespace cvxl {

// Approximate minimum degree order of the graph in which, besides its edges, the nodes of every clique are adjacent to each other, in
// time that grows little faster than the input. `deferred` is that of `minimum_degree`, which is slower and, mostly, as good.
Ordering approximate_minimum_degree(const Graph& graph, const Cliques& cliques, const std::vector<bool>& deferred,
                                    double most = any_cost);

}  // namespace cvxl
