#pragma once
// The declared domains of parameters, where the kernel is called without Python, which screens them elsewhere.

#include <cstdint>
#include <span>
#include <vector>

#include "cvxl/engine.hpp"

namespace cvxl {

// The declared domain of one parameter, as cvxpylayers._program.ParameterSpec has it; `side` is the order of a square matrix,
// `zeros` the entries that its attributes want to be zero, `low` and `high` have one bound an entry or are empty. An entry of one
// that is `unbounded` may be infinite.
struct Domain {
  int sign, psd;
  bool symmetric, quadratic, unbounded;
  Index side;
  std::vector<Index> zeros;
  std::vector<double> low, high;

  bool whole() const {
    return !sign && !psd && !symmetric && zeros.empty() && low.empty() && high.empty();
  }  // every number is fine
};

// The tolerances of cvxpylayers._layer.inputs, which owns them.
struct Tolerances {
  double slack, definite_slack, skew, infinite;
};

// Which instances hold NaN or inf, or leave a declared domain; empty where all are fine. `arrays` are the entries of each
// parameter, an array of parameters of `sizes` that `batch` looks into, known to `rounding`.
std::vector<std::uint8_t> screen(std::span<const std::span<const double>> arrays, const BatchView& batch,
                                 const std::vector<Index>& sizes, const std::vector<Domain>& domains, const Tolerances& tolerances,
                                 std::span<const double> rounding);

}  // namespace cvxl
