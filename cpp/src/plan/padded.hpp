#pragma once
#include <algorithm>
#include <span>
#include <vector>

#include "cvxl/program.hpp"

namespace cvxl {

// A structure in which the rows of every cone block have one pattern, and where its entries of A come from (-1: a new zero).
struct Padded {
  Structure structure;
  std::vector<Index> source;

  explicit Padded(const Structure& s) : structure(s) {
    structure.A = {};
    structure.A.indices.reserve(s.A.indices.size());
    source.reserve(s.A.indices.size());
    Index i = 0;
    const auto copy_row = [&](std::span<const Index> pattern) {
      Index k = s.A.indptr[i];
      for (const Index j : pattern) {
        const bool own = k < s.A.indptr[i + 1] && s.A.indices[k] == j;
        structure.A.indices.push_back(j);
        source.push_back(own ? k++ : -1);
      }
      structure.A.indptr.push_back(structure.A.nnz());
      ++i;
    };
    while (i < s.first_cone_row()) copy_row(s.A.row(i));
    for (const Cone& cone : s.cones) {
      if (cone.whole()) {
        for (Index r = 0; r < cone.rows(); ++r) copy_row(s.A.row(i));
        continue;
      }
      std::vector<Index> pattern(s.A.indices.begin() + s.A.indptr[i], s.A.indices.begin() + s.A.indptr[i + cone.rows()]);
      std::sort(pattern.begin(), pattern.end());
      pattern.erase(std::unique(pattern.begin(), pattern.end()), pattern.end());
      for (Index r = 0; r < cone.rows(); ++r) copy_row(pattern);
    }
  }
};

}  // namespace cvxl
