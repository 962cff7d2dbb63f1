#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace cvxl {

using Index = std::int32_t;

// Compressed rows: row i owns indices[indptr[i] .. indptr[i+1]), ascending.
struct Pattern {
  std::vector<Index> indptr{0};
  std::vector<Index> indices;

  Index rows() const { return static_cast<Index>(indptr.size()) - 1; }
  Index nnz() const { return static_cast<Index>(indices.size()); }
  std::span<const Index> row(Index i) const { return {indices.data() + indptr[i], indices.data() + indptr[i + 1]}; }
};

// A constant sparse matrix by rows.
struct SparseMap {
  Pattern pattern;
  std::vector<double> data;
};

// A cone block beyond the orthant; the conventions are those of the package's _canon/layout.py.
struct Cone {
  // Large semidefinite cones are eliminated as a whole (plan/whole_cone.hpp), which pays where their rows have few entries.
  enum Kind : std::uint8_t { second_order, semidefinite, exponential, power, large_semidefinite };
  static constexpr int kinds = large_semidefinite + 1;
  Kind kind = second_order;
  Index order = 0;     // dimension of a second-order cone, order of the matrices of semidefinite ones
  double alpha = 0.5;  // exponent of a power cone, else ½

  constexpr bool whole() const { return kind == large_semidefinite; }
  constexpr Index rows() const {
    return kind == second_order ? order : kind == semidefinite || whole() ? order * (order + 1) / 2 : 3;
  }
};

// What all instances share: min ½x'Px + q'x + d  s.t.  Ax + s = b, s ∈ K. The first `zero` rows are equalities; the rows of `cones`
// come last, block by block; s ≥ 0 in between. P holds the lower triangle by rows.
struct Structure {
  Index n = 0;
  Index m = 0;
  Index zero = 0;
  Pattern P;
  Pattern A;
  std::vector<Cone> cones = {};

  // The first row that belongs to a block of `cones`.
  Index first_cone_row() const {
    Index row = m;
    for (const Cone& cone : cones) row -= cone.rows();
    return row;
  }
  // Offsets into the value vector [P, q, A, b, d] of one instance.
  Index q_offset() const { return P.nnz(); }
  Index A_offset() const { return P.nnz() + n; }
  Index b_offset() const { return A_offset() + A.nnz(); }
  Index d_offset() const { return b_offset() + m; }
  Index values() const { return d_offset() + 1; }
};

// A structure with the maps M (values × (p + 1), last column the constant) and R (outputs × (n + m)).
struct Problem {
  Structure structure;
  SparseMap M;
  SparseMap R;
  std::vector<Index> parameter_sizes;
  bool check_convexity = false;  // P depends on parameters beyond its diagonal: test P ⪰ 0 per instance
  double objective_sign = 1.0;
  bool smoothed = false;         // derivatives are those of the central path
};

}  // namespace cvxl
