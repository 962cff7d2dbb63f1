#include "plan/faces.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace cvxl {
namespace {

// A variable or row, and the entries of its face.
using Faces = std::map<Index, std::vector<FaceEntry>>;

// Of internal variables, or rows.
Faces faces_of(const Plan& plan, const WholeCone& cone) {
  Faces faces;
  std::vector<std::pair<Index, Index>> place(static_cast<std::size_t>(plan.n), {-1, -1});  // variable → its entry of the matrix
  for (Index column = 0, row = cone.first; column < cone.order; ++column)
    for (Index i = 0; i <= column; ++i, ++row)
      for (Index k = plan.A.indptr[row]; k < plan.A.indptr[row + 1]; ++k)
        if (cone.of_variables)
          place[plan.A.indices[k]] = {i, column};
        else
          faces[plan.A.indices[k]].push_back({i, column, k});
  if (cone.of_variables)
    for (const Index row : cone.faces)
      for (Index k = plan.A.indptr[row]; k < plan.A.indptr[row + 1]; ++k)
        if (const auto& [i, column] = place[plan.A.indices[k]]; i >= 0) faces[row].push_back({i, column, k});
  return faces;
}

}  // namespace

void place_whole_cone(Plan& plan, const WholeCone& cone, const std::function<Update(const std::vector<Index>&)>& make_update) {
  WholeBlock block{};
  while (plan.cones[block.cone].first != cone.first) ++block.cone;
  block.of_variables = cone.of_variables;
  block.faces.begin = static_cast<Index>(plan.faces.size());
  const Faces faces = faces_of(plan, cone);
  std::vector<std::pair<Index, Faces::const_iterator>> ordered;
  for (auto at = faces.begin(); at != faces.end(); ++at)
    ordered.emplace_back(cone.of_variables ? plan.row_position[at->first] : plan.variable_position[at->first], at);
  std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Index> positions;
  for (const auto& [position, face] : ordered) positions.push_back(position);
  const Update update = make_update(positions);
  std::vector<std::pair<Index, Index>> by_density;
  for (Index s = update.segments.begin; s < update.segments.end; ++s) {
    const Segment& segment = plan.segments[s];
    for (Index b = segment.begin; b < segment.end; ++b) {
      const auto& [name, own] = *ordered[b].second;
      const auto begin = static_cast<Index>(plan.face_entries.size());
      plan.face_entries.insert(plan.face_entries.end(), own.begin(), own.end());
      plan.faces.push_back({{begin, static_cast<Index>(plan.face_entries.size())},
                            cone.of_variables ? name : -1,
                            positions[b],
                            segment.panel + (positions[b] - segment.first) * segment.ld,
                            segment.relative - segment.begin});
      by_density.emplace_back(-static_cast<Index>(own.size()), b);
    }
  }
  block.faces.end = static_cast<Index>(plan.faces.size());
  std::sort(by_density.begin(), by_density.end());
  block.by_density.begin = static_cast<Index>(plan.face_order.size());
  for (const auto& [density, b] : by_density) plan.face_order.push_back(b);
  block.by_density.end = static_cast<Index>(plan.face_order.size());
  plan.whole.push_back(block);
}

}  // namespace cvxl
