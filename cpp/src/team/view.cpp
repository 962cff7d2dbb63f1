#include "team/view.hpp"

namespace cvxl {

ProblemView::ProblemView(const Compiled& c, const PlanView& p)
    : plan(p),
      M_begin(c.values.begin),
      M_terms(c.values.terms),
      R_begin(c.problem.R.pattern.indptr),
      R_column(c.problem.R.pattern.indices),
      R_coefficient(c.problem.R.data),
      M_column_begin(c.M_transpose.begin),
      M_row(c.M_transpose.row),
      R_column_begin(c.R_transpose.begin),
      R_row(c.R_transpose.row),
      M_column_coefficient(c.M_transpose.coefficient),
      R_column_coefficient(c.R_transpose.coefficient),
      place(c.place),
      parameter_begin(c.parameter_begin),
      q_offset(c.problem.structure.q_offset()),
      b_offset(c.problem.structure.b_offset()),
      d_offset(c.problem.structure.d_offset()),
      objective_sign(c.problem.objective_sign),
      check_convexity(c.problem.check_convexity) {}

}  // namespace cvxl
