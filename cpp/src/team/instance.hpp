#pragma once
// One instance between its owner's arrays and the arrays of a team.

#include "kkt/program_pack.hpp"
#include "lanes/arena.hpp"
#include "lanes/team.hpp"
#include "team/view.hpp"

namespace cvxl::CVXL_ISA {

// The value vector of an instance, number by number.
template <class V>
class Values {
 public:
  CVXL_HD Values(const ProblemView& problem, Arena& arena)
      : problem_(problem), offset_(arena.take<std::int64_t>(static_cast<std::size_t>(problem.parameters()))) {}

  // Of which instance values are.
  CVXL_HD void locate(const ParametersView& parameters, std::int64_t instance) {
    parameters_ = &parameters;
    each<V>(problem_.parameters(), [&](Index p) { offset_[p] = parameters.offset(p, instance); });
  }

  CVXL_HD double operator()(Index value) const {
    double sum = 0.0;
    for (Index t = problem_.M_begin[value]; t < problem_.M_begin[value + 1]; ++t) {
      const ValueMap::Term& term = problem_.M_terms[t];
      sum += term.coefficient * parameter(term.parameter, term.offset);
    }
    return sum;
  }

  CVXL_HD double parameter(Index p, Index entry) const {
    if (p == problem_.parameters()) return parameters_->constant;
    return parameters_->source[p][offset_[p] + entry];
  }

 private:
  const ProblemView& problem_;
  const ParametersView* parameters_ = nullptr;
  std::int64_t* offset_;
};

// P and A. `value` gives the numbers of the value vector; what only fills a cone's pattern is zero.
template <class V, class Value>
CVXL_HD void load_matrices(const ProgramPack<V>& to, Value&& value) {
  const PlanView& plan = to.plan;
  share<V>(plan.P.nnz(), [&](Index k) { to.P[k][0] = value(plan.P_source[k]); });
  share<V>(plan.A.nnz(), [&](Index k) { to.A[k][0] = plan.A_source[k] < 0 ? 0.0 : value(plan.A_source[k]); });
}

// The parts of point i of a tape.
template <class T>
struct TapePoint {
  T *x, *z, *s;

  CVXL_HD TapePoint(std::span<T> points, const PlanView& plan, std::int64_t i)
      : x(points.data() + i * (plan.n + 2 * static_cast<std::int64_t>(plan.m))), z(x + plan.n), s(z + plan.m) {}

  CVXL_HD bool missing() const { return *x != *x; }
};

// Output o, Σ over a row of R times (x, z) in the user's order.
template <class V>
CVXL_HD double output(const ProblemView& problem, Index o, const V* xz) {
  double sum = 0.0;
  for (Index k = problem.R_begin[o]; k < problem.R_begin[o + 1]; ++k) sum += problem.R_coefficient[k] * xz[problem.R_column[k]][0];
  return sum;
}

}  // namespace cvxl::CVXL_ISA
