#pragma once
// The factorization as a team does it where panels are narrow: not one after the other, which leaves most threads idle, but all
// columns of a level of the elimination tree at once. Each number that they change is one thread's, which has a list of terms for it.
//
// A column is on the level behind all columns that change it. Narrow columns hold U = L D, so that a product is U_a U_b / d. Panels
// and groups of rows that are dense and large enough for tiles in registers (`wide`) have no lists; such a panel is on one level.

#include "plan/plan_view.hpp"

namespace cvxl {

class Levels {
 public:
  explicit Levels(const Plan& plan);

  LevelsView view() const;

 private:
  std::vector<Level> levels_;
  std::vector<Index> wide_panels_, wide_groups_;
  std::vector<Gather> sums_;
  std::vector<Product> products_;
  std::vector<Term> terms_;
  Range condensed_;
};

}  // namespace cvxl
