#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "cvxl/engine.hpp"

namespace cvxl {

// The declared domain of one parameter, as cvxpylayers._program.ParameterSpec has it; `side` is the order of a square matrix,
// `zeros` the entries that its attributes want to be zero, `low` and `high` have one bound an entry or are empty. An entry of one that
// is `unbounded` may be infinite.
struct Domain {
  int sign, psd;
  bool symmetric, quadratic, unbounded;
  Index side;
  std::vector<Index> zeros;
  std::vector<double> low, high;

  bool whole() const { return !sign && !psd && !symmetric && zeros.empty() && low.empty() && high.empty(); }  // every number is fine
};

// The tolerances of cvxpylayers._layer.inputs, which owns them.
struct Tolerances {
  double slack, definite_slack, skew, infinite;
};

// Compiled XLA programs name a problem by a number made from its content, never by an address: a program from a cache, or one
// exported by another process, then finds an engine of the same problem here, or a clear error.
void publish(std::int64_t key, const std::shared_ptr<const Engine>& engine, std::vector<Domain> domains, Tolerances tolerances);

// Handlers by target name, for jax.ffi.register_ffi_target.
nanobind::dict xla_handlers();

}  // namespace cvxl
