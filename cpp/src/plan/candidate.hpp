#pragma once
#include <string>

#include "plan/ordering.hpp"
#include "plan/whole_cone.hpp"

namespace cvxl {

// One way to set up the reduced system: which rows are condensed, and the order of the rest.
struct Candidate {
  std::vector<Index> node_of_row;  // -1 if condensed, or of a cone that leaves as a whole
  Index nodes = 0;
  Graph graph;      // of P and the rows that are kept
  Cliques cliques;  // of the condensed rows, and of cones that leave as a whole
  Ordering ordering;
  std::int64_t condensing = 0;  // flops
  std::string name;

  bool is_complete() const { return ordering.order.size() == static_cast<std::size_t>(nodes); }
  double cost() const { return static_cast<double>(condensing) + ordering.cost(); }
};

// The cheapest candidate over all useful limits on the length of condensed rows, of equals the one that condenses least.
// Variables of cones that leave with them are nodes without edges.
Candidate choose_candidate(const Structure& structure, const WholeCones& whole);

}  // namespace cvxl
