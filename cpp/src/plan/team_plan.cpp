#include "plan/team_plan.hpp"

namespace cvxl {

TeamPlan::Columns TeamPlan::by_columns(const Pattern& pattern, Index columns, bool diagonal) {
  Columns c;
  c.begin.assign(static_cast<std::size_t>(columns) + 1, 0);
  const auto visit = [&](auto&& f) {
    for (Index i = 0; i < pattern.rows(); ++i)
      for (Index k = pattern.indptr[i]; k < pattern.indptr[i + 1]; ++k)
        if (diagonal || pattern.indices[k] != i) f(i, pattern.indices[k], k);
  };
  visit([&](Index, Index j, Index) { ++c.begin[j + 1]; });
  for (Index j = 0; j < columns; ++j) c.begin[j + 1] += c.begin[j];
  c.row.resize(static_cast<std::size_t>(c.begin.back()));
  c.entry.resize(c.row.size());
  std::vector<Index> next(c.begin.begin(), c.begin.end() - 1);
  visit([&](Index i, Index j, Index k) {
    c.row[next[j]] = i;
    c.entry[next[j]++] = k;
  });
  return c;
}

TeamPlan::TeamPlan(const Plan& plan)
    : P_(by_columns(plan.P, plan.n, false)), A_(by_columns(plan.A, plan.n, true)), levels_(plan), view_(plan) {
  view_.P_columns = {P_.begin, P_.row, P_.entry};
  view_.A_columns = {A_.begin, A_.row, A_.entry};
  view_.by_level = levels_.view();
}

}  // namespace cvxl
