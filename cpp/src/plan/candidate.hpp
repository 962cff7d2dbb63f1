#pragma once
#include <string>

#include "plan/ordering.hpp"

namespace cvxl {

// One way to set up the reduced system: which rows are condensed, and the order of the rest.
struct Candidate {
  std::vector<Index> node_of_row;  // -1 if condensed
  Index nodes = 0;
  Graph graph;      // of P and the rows that are kept
  Cliques cliques;  // of the condensed rows
  std::vector<Index> order;
  std::int64_t flops = 0, nonzeros = 0;  // of a factorization, and of its factor
  std::string name;

  // Flops of a factorization and of the five or so solves that go with it.
  double cost() const { return static_cast<double>(flops) + 20.0 * static_cast<double>(nonzeros); }
};

// The cheapest candidate over all useful limits on the length of condensed rows, of equals the one that condenses least.
Candidate choose_candidate(const Structure& structure);

}  // namespace cvxl
