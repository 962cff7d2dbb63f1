#pragma once
// A plan as kernels see it: spans of a Plan, which outlives them, under the same names. It can be copied to a device byte by byte.

#include <span>
#include <type_traits>

#include "plan/plan.hpp"

namespace cvxl {

struct PatternView {
  std::span<const Index> indptr, indices;

  [[gnu::always_inline]] constexpr Index nnz() const { return static_cast<Index>(indices.size()); }
};

// Entries of a matrix by columns: those of column j are [begin[j], begin[j + 1]), each with its row and its number in the pattern.
struct ColumnView {
  std::span<const Index> begin, row, entry;
};

// A sum for one number: its terms, and the position of which it is the last (-1: of none), whose pivot or unknown is then known.
struct Gather {
  Index target, completes;
  Range terms;
};

// Of a sum into the factor: entry times entry, of the factor or of A, times what belongs to a position or a row.
struct Product {
  Index left, right, weight;
};

// Of a substitution: an entry of the factor times an unknown.
struct Term {
  Index entry, position;
};

// Ranges of sums, and of wide panels, whose turn is after those.
struct Level {
  Range factor, forward, backward, wide;
};

struct LevelsView {
  std::span<const Level> levels;
  std::span<const Index> wide_panels, wide_groups;
  std::span<const Gather> sums;
  std::span<const Product> products;
  std::span<const Term> terms;
  Range condensed;  // sums of rows
};

struct PlanView {
  Index n, m, zero, orthant_end, nodes, factor_size, widest;
  bool guessable;
  std::span<const ConeBlock> cones;
  std::span<const Index> variable_of;
  PatternView P, A;
  std::span<const Index> P_source, A_source, variable_position, row_position;
  std::span<const std::uint8_t> loose;
  std::span<const double> pivot_sign;
  std::span<const Index> diagonal, P_target, A_target;
  std::span<const RowRun> runs, condensed_runs;
  std::span<const Index> kept_rows, singletons;
  std::span<const RowGroup> groups;
  std::span<const WholeBlock> whole;
  std::span<const Supernode> supernodes;
  std::span<const Bundle> bundles;
  std::span<const Index> offsets, positions, relative, group_rows, bundle_columns;
  std::span<const Segment> segments;
  std::span<const Face> faces;
  std::span<const FaceEntry> face_entries;
  std::span<const Index> face_order;
  // For teams of several threads alone (team_plan.hpp): P strictly below the diagonal, A, and the factorization.
  ColumnView P_columns = {}, A_columns = {};
  LevelsView by_level = {};

  explicit PlanView(const Plan&);
  explicit PlanView(Plan&&) = delete;

  [[gnu::always_inline]] constexpr bool is_condensed(Index row) const { return row_position[static_cast<std::size_t>(row)] == -1; }
  [[gnu::always_inline]] constexpr bool is_whole(Index row) const { return row_position[static_cast<std::size_t>(row)] == -2; }
  [[gnu::always_inline]] constexpr bool is_kept(Index row) const { return row_position[static_cast<std::size_t>(row)] >= 0; }

  // f(block, entries row by row) for every column of A that rotates though its cone leaves K as a whole.
  template <class F>
  void for_rotating_faces(F&& f) const {
    for (const WholeBlock& block : whole)
      for (const Face& face : faces.subspan(block.faces.begin, block.faces.size()))
        if (block.rotates(face, cones[block.cone])) f(block, face_entries.data() + face.entries.begin);
  }
  // f(row, column, offset in A) for every entry of these.
  template <class F>
  void for_rotating_entries(F&& f) const {
    for_rotating_faces([&](const WholeBlock& block, const FaceEntry* entries) {
      const Index column = A.indices[entries->source], first = cones[block.cone].first;
      for (Index i = 0; i < cones[block.cone].rows(); ++i) f(first + i, column, entries[i].source);
    });
  }
};
static_assert(std::is_trivially_copyable_v<PlanView>);

}  // namespace cvxl
