#pragma once
#include <cstdint>
#include <vector>

namespace cvxl {

using Index = std::int32_t;

// Compressed rows: row i owns indices[indptr[i] .. indptr[i+1]), ascending.
struct Pattern {
  std::vector<Index> indptr{0};
  std::vector<Index> indices;

  Index rows() const { return static_cast<Index>(indptr.size()) - 1; }
  Index nnz() const { return static_cast<Index>(indices.size()); }
};

// A constant sparse matrix by rows.
struct SparseMap {
  Pattern pattern;
  std::vector<double> data;
};

// What all instances share: min ½x'Px + q'x + d  s.t.  Ax + s = b, the first `zero` rows equalities, the others s ≥ 0.
// P holds the lower triangle by rows.
struct Structure {
  Index n = 0;
  Index m = 0;
  Index zero = 0;
  Pattern P;
  Pattern A;

  Index inequalities() const { return m - zero; }
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
};

}  // namespace cvxl
