#include "plan/whole_cone.hpp"

#include <algorithm>

namespace cvxl {
namespace {

// The other rows with entries in the variables of the cone, or nothing where it cannot leave with these.
std::vector<Index> rows_around(const Structure& s, const WholeCone& cone, Index rows, const std::vector<std::uint8_t>& row_leaves,
                               const std::vector<std::uint8_t>& touched) {
  std::vector<std::uint8_t> own(s.n);
  for (Index i = cone.first; i < cone.first + rows; ++i) {
    const auto entries = s.A.row(i);
    if (entries.size() != 1 || touched[entries[0]] || own[entries[0]]) return {};
    own[entries[0]] = 1;
  }
  std::vector<Index> found;
  for (Index i = 0; i < s.m; ++i) {
    if (i >= cone.first && i < cone.first + rows) continue;
    const auto entries = s.A.row(i);
    if (std::none_of(entries.begin(), entries.end(), [&](Index j) { return own[j]; })) continue;
    if (row_leaves[i]) return {};
    found.push_back(i);
  }
  return found;
}

}  // namespace

WholeCones::WholeCones(const Structure& s) : row_leaves(s.m), row_stays(s.m), variable_leaves(s.n) {
  std::vector<std::uint8_t> touched(s.n);  // by P, or by another cone that leaves
  for (Index i = 0; i < s.n; ++i)
    for (const Index j : s.P.row(i)) touched[i] = touched[j] = 1;
  Index first = s.first_cone_row();
  for (const Cone& cone : s.cones) {
    if (cone.whole() && cone.rows() > 0) {
      cones.push_back({first, cone.order, false, {}});
      std::fill_n(row_leaves.begin() + first, cone.rows(), 1);
    }
    first += cone.rows();
  }
  for (WholeCone& cone : cones) {
    const Index rows = cone.order * (cone.order + 1) / 2;
    cone.faces = rows_around(s, cone, rows, row_leaves, touched);
    cone.of_variables = !cone.faces.empty() && static_cast<Index>(cone.faces.size()) < rows;
    const auto columns = s.A.indices.begin();
    const std::vector<Index> own(columns + s.A.indptr[cone.first], columns + s.A.indptr[cone.first + rows]);
    if (cone.of_variables) {
      for (const Index j : own) variable_leaves[j] = 1;
      for (const Index i : cone.faces) row_stays[i] = 1;
    } else {
      cone.faces = own;
      std::sort(cone.faces.begin(), cone.faces.end());
      cone.faces.erase(std::unique(cone.faces.begin(), cone.faces.end()), cone.faces.end());
    }
    for (const Index j : own) touched[j] = 1;
  }
}

}  // namespace cvxl
