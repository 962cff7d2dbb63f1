#pragma once
// What equilibration does with one row of P or A, `count` entries at ascending columns, alone or for all lanes. The rows of one
// instance lie in memory without a stride: where columns are neighbours, as many of its entries as a register holds go at once.
// All of it is exact, or by entry, so that results do not depend on the lane type.

#include <cstring>

#include "cvxl/program.hpp"
#include "lanes/lanes.hpp"
#include "lanes/scalar.hpp"

namespace cvxl::CVXL_ISA {

// The largest of |a|, and d[j] = max(d[j], |a|) in its columns.
template <class V>
CVXL_INLINE V raise_columns(V* d, const Index* columns, const V* a, Index count) {
  V norm = V{};
  for (Index k = 0; k < count; ++k) {
    const V size = abs(a[k]);
    norm = max(norm, size);
    d[columns[k]] = max(d[columns[k]], size);
  }
  return norm;
}

// a *= f d[j].
template <class V>
CVXL_INLINE void scale_row(V* a, V f, const V* d, const Index* columns, Index count) {
  for (Index k = 0; k < count; ++k) a[k] *= f * d[columns[k]];
}

#if !defined(__CUDACC__)
CVXL_INLINE bool are_neighbours(const Index* columns, Index count) {
  return count > 0 && columns[count - 1] - columns[0] == count - 1;
}

using Chunk = Real<most_lanes>;  // of neighbours

CVXL_INLINE Chunk chunk_at(const Number* from) {
  Chunk chunk;
  std::memcpy(&chunk, from, sizeof chunk);
  return chunk;
}
CVXL_INLINE void put_chunk(Number* to, Chunk chunk) { std::memcpy(static_cast<void*>(to), &chunk, sizeof chunk); }

template <>
CVXL_INLINE Number raise_columns(Number* d, const Index* columns, const Number* a, Index count) {
  Number norm{};
  Index k = 0;
  if (are_neighbours(columns, count)) {
    Chunk norms{};
    Number* const at = d + columns[0];
    for (; k + most_lanes <= count; k += most_lanes) {
      const Chunk size = abs(chunk_at(a + k));
      norms = max(norms, size);
      put_chunk(at + k, max(chunk_at(at + k), size));
    }
    for (int l = 0; l < most_lanes; ++l) norm = max(norm, Number::of(norms[l]));
  }
  for (; k < count; ++k) {
    const Number size = abs(a[k]);
    norm = max(norm, size);
    d[columns[k]] = max(d[columns[k]], size);
  }
  return norm;
}

template <>
CVXL_INLINE void scale_row(Number* a, Number f, const Number* d, const Index* columns, Index count) {
  Index k = 0;
  if (are_neighbours(columns, count)) {
    const Chunk factor = splat<Chunk>(f.value());
    for (; k + most_lanes <= count; k += most_lanes) put_chunk(a + k, chunk_at(a + k) * (factor * chunk_at(d + columns[0] + k)));
  }
  for (; k < count; ++k) a[k] *= f * d[columns[k]];
}
#endif

}  // namespace cvxl::CVXL_ISA
