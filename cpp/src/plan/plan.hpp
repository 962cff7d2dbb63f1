#pragma once
// Everything about the KKT system that does not depend on numbers, computed once per layer.
//
//   K = [ P + ρI        A'E     ]      unknowns x (n) and one per row of A; E, Δ diagonal, Δ ≥ δ > 0.
//       [ E A          -Δ       ]
//
// Rows in the *condensed* set are eliminated first: row i with entries a adds w a aᵀ, w = e²/Δ, to the x block. Rows that share
// a column pattern form a group, a dense panel whose update runs through the same register-blocked kernel as a supernode's.
// The rows of a cone block share one pattern, the union of theirs, so that they can be rotated (cones/cones.hpp); those of large
// semidefinite cones keep their own, and such a cone is eliminated as a whole (plan/whole_cone.hpp).
// The other rows are *kept* as nodes beside the variables. The nodes are ordered by minimum degree, and the factor is stored by
// supernodes: dense panels, column-major, the diagonal block on top. Variables are relabelled in elimination order, so that the
// entries of a row of A, ascending in column, are also ascending in position.

#include <string>
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl {

// A contiguous range in one of the plan's pools.
struct Range {
  Index begin = 0, end = 0;
  constexpr Index size() const { return end - begin; }
};

// Part of an update that lands in the columns of one supernode: the rows [begin, end) of the update's list are its columns.
struct Segment {
  Index begin, end;
  Index panel;    // offset of the target panel
  Index first;    // first column of the target supernode
  Index ld;       // its leading dimension
  Index relative; // pool offset: panel row of the update's row a is relative[a - begin]
};

// target(r_a, r_b) -= Σ_k L(r_a, k) · coefficient_k · L(r_b, k): what a panel of `terms` columns does to its ancestors.
struct Update {
  Range offsets;   // pool `offsets`: operand of term k starts at this offset from the source array
  Range rows;      // pool `positions`
  Range segments;  // pool `segments`
};

struct Supernode {
  Index first, columns, rows;  // rows counts the diagonal block
  Index panel;                 // offset into the factor
  Update update;               // update.rows: positions below the diagonal block
  Range shared = {};           // of these, by number, the ones that a bundle has
  Range bundles = {};          // those whose last columns are here
};

// Columns of several supernodes with rows below in common: what they do there is done at once, when the last of them is there.
struct Bundle {
  Range columns;  // pool `bundle_columns`: their positions
  Update update;
};

struct RowGroup {
  Range rows;  // pool `group_rows`: rows of A
  Update update;
};

// Up to four consecutive rows of A with one column pattern; all of them condensed or none.
struct RowRun {
  Index first, rows;
};

// A cone of the structure with its place: rows [first, first + rows()), at least one, and its number among those of its kind.
struct ConeBlock : Cone {
  Index first = 0, number = 0;
};

// An entry of a face of a cone that is eliminated as a whole, row ≤ column, and the offset of its number in A.
struct FaceEntry {
  Index row, column, source;
};

struct Face {
  Range entries;    // pool `face_entries`
  Index row;        // -1: a variable
  Index position;
  Index column;     // offset of its column of the factor
  Index relative;   // pool offset: panel row of face a at or after this one is relative[a], a as in WholeBlock::faces
};

struct WholeBlock {
  std::size_t cone;    // its number in `cones`
  bool of_variables;   // the variable of row i is the only entry of that row
  Range faces;         // pool `faces`, by position
  Range by_density;    // pool `face_order`: the same, counted from the first, those with most entries first

  // Whether a face is a full column of the cone's rows, which is rotated as those of other cones are (kkt/whole_blocks.hpp).
  constexpr bool rotates(const Face& face, const ConeBlock& of) const { return !of_variables && face.entries.size() == of.rows(); }
};

struct Plan {
  Index n = 0, m = 0, zero = 0;
  Index orthant_end = 0;               // rows [zero, orthant_end) are nonnegative, those from there on belong to `cones`
  std::vector<ConeBlock> cones;
  Index nodes = 0;                     // order of the reduced system
  std::vector<Index> variable_of;      // internal variable → the user's
  Pattern P, A;                        // in internal variables
  std::vector<Index> P_source, A_source;  // entry → index into the user's value vector, -1 for a zero that fills a cone's pattern

  std::vector<Index> variable_position;  // internal variable → position, increasing
  std::vector<Index> row_position;  // row → position, -1 if condensed, -2 if of a block in `whole`
  std::vector<std::uint8_t> loose;  // internal variable → whether it is in no row that has a position
  std::vector<double> pivot_sign;  // position → +1 (variable) or -1 (row)
  std::vector<Index> diagonal;  // position → offset into the factor
  std::vector<Index> P_target, A_target;  // entry → offset into the factor, -1 where it has none

  std::vector<RowRun> runs;  // all rows of A, in order
  std::vector<Index> kept_rows, singletons;  // rows with a position; condensed rows with one entry: they touch a diagonal only
  std::vector<RowRun> condensed_runs;  // of `runs`, those of the other condensed rows
  std::vector<RowGroup> groups;
  std::vector<WholeBlock> whole;
  std::vector<Supernode> supernodes;
  std::vector<Bundle> bundles;
  Index factor_size = 0;

  std::vector<Index> offsets, positions, relative, group_rows, bundle_columns;
  std::vector<Segment> segments;
  std::vector<Face> faces;
  std::vector<FaceEntry> face_entries;
  std::vector<Index> face_order;

  std::int64_t flops = 0;  // one factorization, condensing included
  std::int64_t factor_nonzeros = 0;
  Index condensed = 0;
  bool guessable = false;  // whether to guess the active set from the start (plan/guessable.hpp)
  Index widest = 1;  // most terms of one update or supernode: sizes the scratch block
  std::string ordering;

  bool is_condensed(Index row) const { return row_position[row] == -1; }
  bool is_whole(Index row) const { return row_position[row] == -2; }
  bool is_kept(Index row) const { return row_position[row] >= 0; }
};

Plan make_plan(const Structure& structure);

}  // namespace cvxl
