#include "plan/bundles.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <span>
#include <tuple>

namespace cvxl {
namespace {

constexpr Index most_columns = 4, most_segments = 4;  // of a supernode that is bundled
constexpr std::size_t most_runs = 32;                  // in a bundle: more save little, and take room

// Neighbouring segments of the rows below a supernode, with a number that tells their positions from others.
struct Run {
  std::uint64_t mark;
  Index node;
  Range rows;
};
using Runs = std::vector<Run>;

std::span<const Index> positions(const Plan& plan, const Run& run) {
  return {plan.positions.data() + plan.supernodes[run.node].update.rows.begin + run.rows.begin,
          static_cast<std::size_t>(run.rows.size())};
}

// Those whose mark others may have: of most a hash is met once.
Runs repeated_runs(const Plan& plan) {
  Runs runs;
  for (Index j = 0; j < static_cast<Index>(plan.supernodes.size()); ++j) {
    const Supernode& node = plan.supernodes[j];
    const Range segments = node.update.segments;
    if (node.columns > most_columns || segments.size() > most_segments) continue;
    for (Index first = segments.begin; first < segments.end; ++first) {
      Run run{14695981039346656037u, j, {plan.segments[first].begin, plan.segments[first].begin}};
      for (Index last = first; last < segments.end; ++last) {
        for (; run.rows.end < plan.segments[last].end; ++run.rows.end)
          run.mark =
              (run.mark ^ static_cast<std::uint64_t>(plan.positions[node.update.rows.begin + run.rows.end])) * 1099511628211u;
        if (run.rows.size() > 1) runs.push_back(run);
      }
    }
  }
  const std::size_t slots = std::bit_ceil(4 * runs.size() + 1);
  std::vector<std::uint8_t> met(slots);  // runs of a hash: none, one, or more
  const auto count = [&](const Run& run) -> std::uint8_t& { return met[(run.mark ^ (run.mark >> 32)) & (slots - 1)]; };
  for (const Run& run : runs) count(run) = static_cast<std::uint8_t>(count(run) == 0 ? 1 : 2);
  std::erase_if(runs, [&](const Run& run) { return count(run) == 1; });
  return runs;
}

// Those that several supernodes have in common, with the pairs of rows that are met less often if these are bundled: most first.
std::vector<std::pair<std::int64_t, Runs>> common_runs(const Plan& plan) {
  Runs runs = repeated_runs(plan);
  const auto key = [](const Run& run) { return std::tuple(run.mark, run.rows.size(), run.node); };
  std::sort(runs.begin(), runs.end(), [&](const Run& a, const Run& b) { return key(a) < key(b); });
  std::vector<std::pair<std::int64_t, Runs>> found;
  for (auto begin = runs.begin(), end = begin; begin != runs.end(); begin = end) {
    const auto differs = [&](const Run& run) { return !std::ranges::equal(positions(plan, run), positions(plan, *begin)); };
    end = std::find_if(begin, runs.end(), differs);
    const std::int64_t rows = begin->rows.size();
    if (end - begin > 1) found.emplace_back(rows * (rows + 1) / 2 * (end - begin - 1), Runs(begin, end));
  }
  const auto order = [](const auto& common) { return std::pair(-common.first, common.second.front().node); };
  std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) { return order(a) < order(b); });
  return found;
}

}  // namespace

void place_bundles(Plan& plan, const std::function<Update(const std::vector<Index>&, const std::vector<Index>&)>& make_update) {
  std::map<Index, std::vector<Bundle>> complete;  // by the supernode with their last columns
  const auto bundle = [&](std::span<const Run> runs) {
    Range columns{static_cast<Index>(plan.bundle_columns.size()), 0};
    std::vector<Index> offsets;
    for (const Run& run : runs) {
      Supernode& node = plan.supernodes[run.node];
      node.shared = run.rows;
      for (Index c = 0; c < node.columns; ++c) {
        plan.bundle_columns.push_back(node.first + c);
        offsets.push_back(node.panel + c * node.rows + node.columns + run.rows.begin);
      }
    }
    columns.end = static_cast<Index>(plan.bundle_columns.size());
    plan.widest = std::max(plan.widest, columns.size());
    const auto rows = positions(plan, runs.front());
    complete[runs.back().node].push_back({columns, make_update(offsets, {rows.begin(), rows.end()})});
  };
  for (auto& [saved, runs] : common_runs(plan)) {
    std::erase_if(runs, [&](const Run& run) { return plan.supernodes[run.node].shared.size() > 0; });
    for (std::span<const Run> left = runs; left.size() > 1;) {
      const auto most = std::min(left.size(), most_runs);
      bundle(left.first(most));
      left = left.subspan(most);
    }
  }
  for (const auto& [last, bundles] : complete) {
    Range& own = plan.supernodes[last].bundles;
    own.begin = static_cast<Index>(plan.bundles.size());
    plan.bundles.insert(plan.bundles.end(), bundles.begin(), bundles.end());
    own.end = static_cast<Index>(plan.bundles.size());
  }
}

}  // namespace cvxl
