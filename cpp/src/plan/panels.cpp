#include "plan/panels.hpp"

namespace cvxl {

std::vector<Panel> find_panels(const EliminationTree& tree) {
  std::vector<Panel> panels;
  const auto try_merge = [&](const Panel& child, const Panel& parent) -> Panel {
    Panel merged{child.first, child.columns + parent.columns, parent.below, 0};
    merged.padding = merged.size() - (child.size() - child.padding) - (parent.size() - parent.padding);
    return merged;
  };
  for (Index j = 0; j < static_cast<Index>(tree.order.size()); ++j) {
    Panel panel{j, 1, tree.structure[j], 0};
    while (!panels.empty()) {
      const Panel& child = panels.back();
      if (child.below.empty() || child.below[0] < panel.first || child.below[0] >= panel.first + panel.columns) break;
      Panel merged = try_merge(child, panel);
      const double share = static_cast<double>(merged.padding) / static_cast<double>(merged.size());
      if (share > (merged.columns <= 4 ? 0.34 : 0.12)) break;
      panels.pop_back();
      panel = std::move(merged);
    }
    panels.push_back(std::move(panel));
  }
  return panels;
}

}  // namespace cvxl
