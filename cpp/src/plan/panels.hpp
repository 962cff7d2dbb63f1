#pragma once
#include "plan/elimination_tree.hpp"

namespace cvxl {

// Columns [first, first + columns) with the number of rows below them.
struct Panel {
  Index first, columns, below;
  std::int64_t padding = 0;  // stored zeros

  std::int64_t size() const {
    const std::int64_t c = columns, b = below;
    return c * (c + 1) / 2 + c * b;
  }
};

// Supernodes with relaxed amalgamation: a chain of columns is one panel if few of its stored entries are zeros.
std::vector<Panel> find_panels(const EliminationTree& tree);

// Of every panel, which are all, the rows below it: those of its last column, which is an ancestor of the others.
Pattern find_rows(const EliminationTree& tree, const std::vector<Panel>& panels);

}  // namespace cvxl
