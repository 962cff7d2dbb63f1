#pragma once
#include "plan/elimination_tree.hpp"

namespace cvxl {

// Columns [first, first + columns) with the rows below them.
struct Panel {
  Index first, columns;
  std::vector<Index> below;
  std::int64_t padding = 0;  // stored zeros

  std::int64_t size() const {
    const std::int64_t c = columns, b = static_cast<std::int64_t>(below.size());
    return c * (c + 1) / 2 + c * b;
  }
};

// Supernodes with relaxed amalgamation: a chain of columns is one panel if few of its stored entries are zeros.
std::vector<Panel> find_panels(const EliminationTree& tree);

}  // namespace cvxl
