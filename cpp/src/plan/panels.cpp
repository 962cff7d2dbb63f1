#include "plan/panels.hpp"

namespace cvxl {

std::vector<Panel> find_panels(const EliminationTree& tree) {
  std::vector<Panel> panels;
  for (Index j = 0; j < static_cast<Index>(tree.order.size()); ++j) {
    Panel panel{j, 1, tree.below[j]};
    while (!panels.empty()) {
      const Panel& child = panels.back();
      if (const Index parent = tree.parent[panel.first - 1]; parent < 0 || parent > j) break;  // of the child's last column
      Panel merged{child.first, child.columns + panel.columns, panel.below};
      merged.padding = merged.size() - (child.size() - child.padding) - (panel.size() - panel.padding);
      const double share = static_cast<double>(merged.padding) / static_cast<double>(merged.size());
      if (share > (merged.columns <= 4 ? 0.34 : 0.12)) break;
      panels.pop_back();
      panel = merged;
    }
    panels.push_back(panel);
  }
  return panels;
}

// Row k has an entry in the panels on the ways from those of its earlier neighbours up to its own.
Pattern find_rows(const EliminationTree& tree, const std::vector<Panel>& panels) {
  const auto count = static_cast<Index>(panels.size());
  std::vector<Index> panel_of, next, seen(panels.size(), -1);
  Pattern rows;
  for (Index p = 0; p < count; ++p) {
    panel_of.insert(panel_of.end(), static_cast<std::size_t>(panels[p].columns), p);
    next.push_back(rows.indptr.back());
    rows.indptr.push_back(rows.indptr.back() + panels[p].below);
  }
  rows.indices.resize(static_cast<std::size_t>(rows.indptr.back()));
  for (Index k = 0; k < static_cast<Index>(tree.order.size()); ++k) {
    seen[panel_of[k]] = k;
    for (const Index i : tree.earlier.row(k))
      for (Index p = panel_of[i]; seen[p] != k; p = panel_of[tree.parent[panels[p].first + panels[p].columns - 1]]) {
        seen[p] = k;
        rows.indices[next[p]++] = k;
      }
  }
  return rows;
}

}  // namespace cvxl
