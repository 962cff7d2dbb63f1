#include "engine/compiled.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>

namespace cvxl {
namespace {

Transpose transpose(const SparseMap& map, Index columns) {
  Transpose t;
  t.begin.assign(columns + 1, 0);
  for (Index c : map.pattern.indices)
    if (c < columns) ++t.begin[c + 1];
  std::partial_sum(t.begin.begin(), t.begin.end(), t.begin.begin());
  t.row.resize(t.begin.back());
  t.coefficient.resize(t.begin.back());
  std::vector<Index> next(t.begin.begin(), t.begin.end() - 1);
  for (Index r = 0; r < map.pattern.rows(); ++r)
    for (Index k = map.pattern.indptr[r]; k < map.pattern.indptr[r + 1]; ++k)
      if (const Index c = map.pattern.indices[k]; c < columns) {
        t.row[next[c]] = r;
        t.coefficient[next[c]++] = map.data[k];
      }
  return t;
}

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

void check_pattern(const Pattern& p, Index rows, Index columns, const char* message) {
  require(!p.indptr.empty() && p.rows() == rows && p.indptr[0] == 0 && p.indptr.back() == p.nnz(), message);
  require(std::is_sorted(p.indptr.begin(), p.indptr.end()), message);
  for (Index i = 0; i < rows; ++i) {
    for (Index k = p.indptr[i]; k < p.indptr[i + 1]; ++k)
      require(p.indices[k] >= 0 && p.indices[k] < columns && (k == p.indptr[i] || p.indices[k - 1] < p.indices[k]), message);
  }
}

Problem checked(Problem p) {
  const Structure& s = p.structure;
  for (const Cone& cone : s.cones)
    require(cone.order >= 0 && cone.order < 40'000 && cone.alpha > 0.0 && cone.alpha < 1.0,
            "cones need an order >= 0 and an exponent between 0 and 1");
  require(s.n > 0 && s.m >= 0 && s.zero >= 0 && s.zero <= s.first_cone_row(),
          "sizes must satisfy n > 0 and 0 <= zero <= m - rows of cones");
  check_pattern(s.P, s.n, s.n, "P must be n x n, compressed by rows, columns ascending");
  for (Index i = 0; i < s.n; ++i)
    for (Index k = s.P.indptr[i]; k < s.P.indptr[i + 1]; ++k) require(s.P.indices[k] <= i, "P must hold the lower triangle");
  check_pattern(s.A, s.m, s.n, "A must be m x n, compressed by rows, columns ascending");
  require(std::all_of(p.parameter_sizes.begin(), p.parameter_sizes.end(), [](Index size) { return size >= 0; }),
          "negative parameter size");
  const Index columns = std::accumulate(p.parameter_sizes.begin(), p.parameter_sizes.end(), Index{0}) + 1;
  check_pattern(p.M.pattern, s.values(), columns, "M must have one row per value and one column per parameter entry and constant");
  check_pattern(p.R.pattern, std::max<Index>(p.R.pattern.rows(), 0), s.n + s.m, "R must have n + m columns");
  require(p.M.data.size() == p.M.pattern.indices.size() && p.R.data.size() == p.R.pattern.indices.size(),
          "map data and pattern differ");
  return p;
}

std::vector<Place> places(const Structure& s, const Plan& plan) {
  std::vector<Place> place(s.values(), {Place::d, 0, 0});
  const auto fill = [&](Place::Kind kind, const Pattern& pattern, const std::vector<Index>& source) {
    for (Index i = 0; i < pattern.rows(); ++i)
      for (Index k = pattern.indptr[i]; k < pattern.indptr[i + 1]; ++k)
        if (source[k] >= 0) place[source[k]] = {kind, i, pattern.indices[k]};
  };
  fill(Place::P, plan.P, plan.P_source);
  fill(Place::A, plan.A, plan.A_source);
  for (Index j = 0; j < s.n; ++j) place[s.q_offset() + plan.variable_of[j]] = {Place::q, j, 0};
  for (Index i = 0; i < s.m; ++i) place[s.b_offset() + i] = {Place::b, i, 0};
  return place;
}

}  // namespace

ValueMap::ValueMap(const Problem& problem) : begin(problem.M.pattern.indptr) {
  std::vector<Term> column;
  column.reserve(std::accumulate(problem.parameter_sizes.begin(), problem.parameter_sizes.end(), std::size_t{1}));
  for (Index i = 0; i < static_cast<Index>(problem.parameter_sizes.size()); ++i)
    for (Index k = 0; k < problem.parameter_sizes[i]; ++k) column.push_back({i, k, 0.0});
  column.push_back({static_cast<Index>(problem.parameter_sizes.size()), 0, 0.0});
  terms.reserve(problem.M.data.size());
  for (std::size_t t = 0; t < problem.M.data.size(); ++t) {
    terms.push_back(column[problem.M.pattern.indices[t]]);
    terms.back().coefficient = problem.M.data[t];
  }
}

MatrixTerms::MatrixTerms(const ValueMap& map, const std::vector<Index>& source) : coefficient(source.size()) {
  const auto entries = static_cast<Index>(source.size());
  for (Index k = 0; k < entries; ++k) {
    const Index v = source[k];
    if (v < 0 || map.begin[v + 1] - map.begin[v] != 1) {
      others.push_back(k);
      continue;
    }
    const ValueMap::Term& term = map.terms[map.begin[v]];
    coefficient[k] = term.coefficient;
    Run* const last = runs.empty() ? nullptr : &runs.back();
    const bool adjoins = last && last->parameter == term.parameter && last->first + last->count == k;
    if (adjoins && last->count == 1) last->stride = term.offset - last->offset;
    if (adjoins && term.offset == last->offset + last->count * last->stride)
      ++last->count;
    else
      runs.push_back({k, 1, term.parameter, term.offset, 0});
  }
}

Compiled::Compiled(Problem p)
    : problem(checked(std::move(p))),
      plan(make_plan(problem.structure)),
      view(plan),
      values(problem),
      P_terms(values, plan.P_source),
      A_terms(values, plan.A_source),
      place(places(problem.structure, plan)) {
  parameter_begin.push_back(0);
  for (Index size : problem.parameter_sizes) parameter_begin.push_back(parameter_begin.back() + size);
  M_transpose = transpose(problem.M, parameter_begin.back());
  R_transpose = transpose(problem.R, problem.structure.n + problem.structure.m);
}

std::int64_t BatchView::size() const { return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()); }

Locator::Locator(const Compiled& compiled, const BatchView& batch, double constant)
    : batch_(batch), size_(batch.size()), constant_(constant) {
  const auto& sizes = compiled.problem.parameter_sizes;
  require(batch.parameters.size() == sizes.size(), "one array per parameter is needed");
  std::vector<bool> varies;
  Index longest = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const ParameterView& p = batch.parameters[i];
    require(!p.data || p.strides.size() == batch.shape.size(), "one stride per batch axis is needed");
    bool moves = false;
    for (std::size_t k = 0; p.data && k < batch.shape.size(); ++k) moves |= p.strides[k] != 0 && batch.shape[k] > 1;
    varies.push_back(moves);
    if (!p.data) longest = std::max(longest, sizes[i]);
  }
  varies.push_back(false);
  zeros_.assign(longest, 0.0);
  const ValueMap& map = compiled.values;
  for (std::size_t v = 0; v + 1 < map.begin.size(); ++v)
    shared_.push_back(std::none_of(map.terms.begin() + map.begin[v], map.terms.begin() + map.begin[v + 1],
                                   [&](const ValueMap::Term& term) { return varies[term.parameter]; }));
}

std::vector<Index> Locator::varying(const std::vector<Index>& source) const {
  std::vector<Index> entries;
  for (std::size_t k = 0; k < source.size(); ++k)
    if (source[k] >= 0 && !shared(source[k])) entries.push_back(static_cast<Index>(k));
  return entries;
}

void Locator::locate(std::int64_t instance, const double** pointers) const {
  for (std::size_t i = 0; i < batch_.parameters.size(); ++i) {
    const ParameterView& p = batch_.parameters[i];
    pointers[i] = p.data ? p.data : zeros_.data();
  }
  pointers[batch_.parameters.size()] = &constant_;
  for (std::size_t k = batch_.shape.size(); k-- > 0;) {
    const std::int64_t index = instance % batch_.shape[k];
    instance /= batch_.shape[k];
    for (std::size_t i = 0; i < batch_.parameters.size(); ++i)
      if (batch_.parameters[i].data) pointers[i] += index * batch_.parameters[i].strides[k];
  }
}

}  // namespace cvxl
