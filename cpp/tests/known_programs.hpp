#pragma once
// Small programs with known solutions, and some that have none.

#include "cvxl/status.hpp"
#include "random_programs.hpp"

namespace cvxl::testing {

// A program with dense patterns, from its matrices by rows.
struct Program {
  const char* name;
  Index n, zero;
  std::vector<double> P, q, A, b;  // P lower triangle by rows, or empty
  Status status;
  std::vector<double> x = {}, z = {};
  double objective = 0.0;

  Structure structure() const {
    const auto m = static_cast<Index>(b.size());
    return {n, m, zero, make_pattern(n, n, [&](Index i, Index j) { return !P.empty() && j <= i; }),
            make_pattern(m, n, [](Index, Index) { return true; })};
  }
  std::vector<double> values() const {
    std::vector<double> v;
    for (const auto* part : {&P, &q, &A, &b}) v.insert(v.end(), part->begin(), part->end());
    v.push_back(0.0);
    return v;
  }
};

inline const Program programs[] = {
    {"univariate", 1, 0, {2}, {-2}, {}, {}, Status::solved, {1}, {}, -1},
    {"univariate, bound active", 1, 0, {1}, {-1}, {1}, {0.5}, Status::solved, {0.5}, {0.5}, -0.375},
    {"univariate, bound inactive", 1, 0, {1}, {-1}, {1}, {2}, Status::solved, {1}, {0}, -0.5},
    {"unconstrained", 2, 0, {2, 1, 2}, {-3, -3}, {}, {}, Status::solved, {1, 1}, {}, -3},
    {"box",
     2,
     0,
     {1, 0, 1},
     {-3, 0.25},
     {1, 0, 0, 1, -1, 0, 0, -1},
     {1, 1, 1, 1},
     Status::solved,
     {1, -0.25},
     {2, 0, 0, 0},
     -2.53125},
    {"equality only", 2, 1, {1, 0, 1}, {0, 0}, {1, 1}, {1}, Status::solved, {0.5, 0.5}, {-0.5}, 0.25},
    {"redundant equalities", 2, 2, {1, 0, 1}, {0, 0}, {1, 1, 2, 2}, {1, 2}, Status::solved, {0.5, 0.5}, {}, 0.25},
    {"duplicated rows", 1, 0, {1}, {-2}, {1, 1}, {1, 1}, Status::solved, {1}, {}, -1.5},
    {"fixed variable", 2, 1, {1, 0, 1}, {-1, -1}, {1, 0, 0, 1}, {3, 0.5}, Status::solved, {3, 0.5}, {-2, 0.5}, 1.125},
    {"semidefinite P", 2, 0, {1, 1, 1}, {-1, -1}, {-1, 0, 0, -1, 1, 0}, {0, 0, 0.25}, Status::solved, {}, {}, -0.5},
    {"linear program", 2, 0, {}, {-1, -2}, {1, 1, -1, 0, 0, -1}, {1, 0, 0}, Status::solved, {0, 1}, {2, 1, 0}, -2},
    {"transport", 2, 1, {}, {1, 3}, {1, 1, -1, 0, 0, -1, 1, 0}, {1, 0, 0, 0.75}, Status::solved, {0.75, 0.25}, {-3, 0, 0, 2}, 1.5},
    {"empty row, satisfied", 1, 0, {1}, {-1}, {0, 1}, {1, 0.5}, Status::solved, {0.5}, {0, 0.5}, -0.375},
    {"infeasible bounds", 1, 0, {1}, {0}, {1, -1}, {0, -1}, Status::primal_infeasible},
    {"infeasible bounds, linear", 1, 0, {}, {1}, {1, -1}, {0, -1}, Status::primal_infeasible},
    {"infeasible equalities", 1, 2, {1}, {0}, {1, 1}, {0, 1}, Status::primal_infeasible},
    {"infeasible empty row", 1, 0, {1}, {0}, {0, 1}, {-1, 1}, Status::primal_infeasible},
    {"unbounded", 1, 0, {}, {-1}, {-1}, {0}, Status::dual_infeasible},
    {"unbounded along a null direction of P", 2, 0, {1, 0, 0}, {0, -1}, {1, 0}, {1}, Status::dual_infeasible},
    {"unbounded without rows", 1, 0, {}, {-1}, {}, {}, Status::dual_infeasible},
};

}  // namespace cvxl::testing
