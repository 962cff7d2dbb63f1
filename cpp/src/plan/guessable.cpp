#include "plan/guessable.hpp"

#include <algorithm>
#include <vector>

namespace cvxl {
namespace {

constexpr double most_rows = 1.5;  // for each degree of freedom

}  // namespace

bool is_guessable(const Structure& s) {
  const Index n = s.n, zero = s.zero, m = s.m;
  std::vector<std::uint8_t> pinned(n), bounded(n);
  for (Index i = 0; i < n; ++i) {
    const auto begin = s.P.indices.begin() + s.P.indptr[i], end = s.P.indices.begin() + s.P.indptr[i + 1];
    pinned[i] = std::find(begin, end, i) != end;
  }
  const Index flat = n - static_cast<Index>(std::count(pinned.begin(), pinned.end(), 1));
  for (Index k = 0; k < s.A.indptr[zero]; ++k) pinned[s.A.indices[k]] = 1;
  if (flat == n || flat > zero || std::count(pinned.begin(), pinned.end(), 0) > 0) return false;
  Index rows = 0;
  for (Index i = zero; i < m; ++i) {
    const Index begin = s.A.indptr[i];
    const bool bound = s.A.indptr[i + 1] - begin == 1;
    rows += !(bound && bounded[s.A.indices[begin]]);
    if (bound) bounded[s.A.indices[begin]] = 1;
  }
  return rows <= most_rows * (n - zero);
}

}  // namespace cvxl
