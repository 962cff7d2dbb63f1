#include "plan/bundles.hpp"

#include <algorithm>
#include <map>

namespace cvxl {
namespace {

constexpr Index most_columns = 4, most_segments = 4;  // of a supernode that is bundled

struct Member {
  Index node;
  Range rows;
};

// Every run of segments that some supernodes have in common, with these.
std::map<std::vector<Index>, std::vector<Member>> common_rows(const Plan& plan) {
  std::map<std::vector<Index>, std::vector<Member>> runs;
  for (Index j = 0; j < static_cast<Index>(plan.supernodes.size()); ++j) {
    const Supernode& node = plan.supernodes[j];
    const Range segments = node.update.segments;
    if (node.columns > most_columns || segments.size() > most_segments) continue;
    const auto below = plan.positions.begin() + node.update.rows.begin;
    for (Index first = segments.begin; first < segments.end; ++first)
      for (Index last = first; last < segments.end; ++last) {
        const Range rows{plan.segments[first].begin, plan.segments[last].end};
        if (rows.size() > 1) runs[{below + rows.begin, below + rows.end}].push_back({j, rows});
      }
  }
  std::erase_if(runs, [](const auto& run) { return run.second.size() < 2; });
  return runs;
}

}  // namespace

void place_bundles(Plan& plan, const std::function<Update(const std::vector<Index>&, const std::vector<Index>&)>& make_update) {
  const auto runs = common_rows(plan);
  std::vector<std::pair<std::size_t, decltype(runs.begin())>> order;  // by the pairs of rows that are met less often
  for (auto run = runs.begin(); run != runs.end(); ++run)
    order.emplace_back(run->first.size() * (run->first.size() + 1) / 2 * (run->second.size() - 1), run);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::map<Index, std::vector<Bundle>> complete;  // by the supernode with their last columns
  for (const auto& [saved, run] : order) {
    std::vector<Member> members = run->second;
    std::erase_if(members, [&](const Member& member) { return plan.supernodes[member.node].shared.size() > 0; });
    if (members.size() < 2) continue;
    std::vector<Index> offsets;
    const auto begin = static_cast<Index>(plan.bundle_columns.size());
    for (const Member& member : members) {
      Supernode& node = plan.supernodes[member.node];
      node.shared = member.rows;
      for (Index c = 0; c < node.columns; ++c) {
        plan.bundle_columns.push_back(node.first + c);
        offsets.push_back(node.panel + c * node.rows + node.columns + member.rows.begin);
      }
    }
    const Range columns{begin, static_cast<Index>(plan.bundle_columns.size())};
    plan.widest = std::max(plan.widest, columns.size());
    complete[members.back().node].push_back({columns, make_update(offsets, run->first)});
  }
  for (const auto& [last, bundles] : complete) {
    Range& own = plan.supernodes[last].bundles;
    own.begin = static_cast<Index>(plan.bundles.size());
    plan.bundles.insert(plan.bundles.end(), bundles.begin(), bundles.end());
    own.end = static_cast<Index>(plan.bundles.size());
  }
}

}  // namespace cvxl
