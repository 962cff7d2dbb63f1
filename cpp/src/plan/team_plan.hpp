#pragma once
// A plan with what teams of several threads need besides: the entries of P and A by columns, and the factorization by levels.

#include "plan/levels.hpp"
#include "plan/plan_view.hpp"

namespace cvxl {

class TeamPlan {
 public:
  explicit TeamPlan(const Plan& plan);
  TeamPlan(const TeamPlan&) = delete;

  const PlanView& view() const { return view_; }

 private:
  struct Columns {
    std::vector<Index> begin, row, entry;
  };
  static Columns by_columns(const Pattern& pattern, Index columns, bool diagonal);

  Columns P_, A_;
  Levels levels_;
  PlanView view_;
};

}  // namespace cvxl
