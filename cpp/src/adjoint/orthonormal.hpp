#pragma once
// A growing family of orthonormal vectors, and projections along it.

#include <algorithm>
#include <cmath>

#include "cvxl/program.hpp"
#include "lanes/arena.hpp"
#include "lanes/lanes.hpp"

namespace cvxl::CVXL_ISA {

class Orthonormal {
 public:
  Index count = 0;

  Orthonormal() = default;
  Orthonormal(Index length, Index most, Arena& arena)
      : length_(length), vectors_(arena.take<double>(static_cast<std::size_t>(length) * most)) {}

  const double* operator[](Index k) const { return vectors_ + static_cast<std::size_t>(k) * length_; }

  // Adds the part of a vector that is orthogonal to the others, its entries cleaned of rounding.
  template <class Fill>
  void append(Fill&& fill) {
    double* v = vectors_ + static_cast<std::size_t>(count) * length_;
    fill(v);
    for (int pass = 0; pass < 2; ++pass) {
      project(v);
      double largest = 0.0, norm = 0.0;
      for (Index j = 0; j < length_; ++j) largest = std::max(largest, std::abs(v[j]));
      for (Index j = 0; j < length_; ++j) {
        if (std::abs(v[j]) <= 1e-10 * largest) v[j] = 0.0;
        norm += v[j] * v[j];
      }
      if (norm == 0.0) return;
      for (Index j = 0; j < length_; ++j) v[j] /= std::sqrt(norm);
    }
    ++count;
  }

  // v less its part in the family; whether that was below `tolerance` of its largest entry.
  bool project(double* v, double tolerance = 0.0) const {
    bool none = true;
    for (Index k = 0; k < count; ++k) {
      const double* u = (*this)[k];
      double inner = 0.0, largest = 0.0;
      for (Index j = 0; j < length_; ++j) {
        inner += u[j] * v[j];
        largest = std::max(largest, std::abs(v[j]));
      }
      for (Index j = 0; j < length_; ++j) v[j] -= inner * u[j];
      none &= std::abs(inner) <= tolerance * largest;
    }
    return none;
  }

 private:
  Index length_ = 0;
  double* vectors_ = nullptr;
};

}  // namespace cvxl::CVXL_ISA
