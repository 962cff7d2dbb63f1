#pragma once
// Large semidefinite cones, which are eliminated from K as a whole, without rotating their rows (kkt/whole_cones.hpp).
//
// What is left of a cone is one term of a Schur complement, M_ab = ⟨F_a, V(F_b)⟩, dense in what its *faces* F, sparse symmetric
// matrices, belong to:
//
//   the columns of its rows    as in S = F₀ + Σ x_j F_j; K keeps these variables
//   other rows                 where its rows are single variables, S = X, on which P does not act: these variables leave K with
//                              the cone, and the faces are the other rows with entries in X, which are all kept
#include <cstdint>
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl {

struct WholeCone {
  Index first = 0;            // row
  Index order = 0;
  bool of_variables = false;  // whether its rows are variables that leave with it
  std::vector<Index> faces;   // variables, or else rows
};

// Which cones of a structure leave as a whole, and what with them.
struct WholeCones {
  std::vector<WholeCone> cones;
  std::vector<std::uint8_t> row_leaves, row_stays, variable_leaves;  // row_stays: it may not be condensed

  explicit WholeCones(const Structure& structure);
};

}  // namespace cvxl
