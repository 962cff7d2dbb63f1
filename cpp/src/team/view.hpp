#pragma once
// A compiled problem and its batch as teams see them: numbers and spans, which can be copied to a device byte by byte.

#include <cstdint>
#include <span>
#include <type_traits>

#include "cvxl/settings.hpp"
#include "engine/compiled.hpp"
#include "lanes/lanes.hpp"
#include "plan/plan_view.hpp"

namespace cvxl {

// What is known of a problem before its numbers.
struct ProblemView {
  PlanView plan;
  std::span<const Index> M_begin;  // of each value, and one more
  std::span<const ValueMap::Term> M_terms;
  std::span<const Index> R_begin, R_column;
  std::span<const double> R_coefficient;
  // For derivatives, by columns: entries of parameters, and of (x, z).
  std::span<const Index> M_column_begin, M_row, R_column_begin, R_row;
  std::span<const double> M_column_coefficient, R_column_coefficient;
  std::span<const Place> place;
  std::span<const Index> parameter_begin;
  Index q_offset, b_offset, d_offset;
  double objective_sign;
  bool check_convexity;

  ProblemView(const Compiled& compiled, const PlanView& plan);

  CVXL_INLINE Index parameters() const { return static_cast<Index>(parameter_begin.size()) - 1; }
  CVXL_INLINE Index outputs() const { return static_cast<Index>(R_begin.size()) - 1; }
};

// A parameter where its owner keeps it, its entries in C order, one instance after the other with any strides.
struct ParameterSource {
  const void* data;  // may be null in a tangent: zero
  bool single;  // float32

  CVXL_INLINE double operator[](std::int64_t k) const {
    if (!data) return 0.0;
    return single ? static_cast<double>(static_cast<const float*>(data)[k]) : static_cast<const double*>(data)[k];
  }
};

// The parameters of a batch of any number of axes.
struct ParametersView {
  std::span<const ParameterSource> source;
  std::span<const std::int64_t> shape;    // of the batch
  std::span<const std::int64_t> strides;  // parameters × axes, in entries
  double constant;                        // what the constant of M counts: 1, and 0 where these are tangents

  // Where parameter p of the instance begins.
  CVXL_INLINE std::int64_t offset(Index p, std::int64_t instance) const {
    const std::size_t axes = shape.size();
    std::int64_t at = 0;
    for (std::size_t a = axes; a-- > 0;) {
      at += instance % shape[a] * strides[static_cast<std::size_t>(p) * axes + a];
      instance /= shape[a];
    }
    return at;
  }
};

// A solve. Spans that are empty are not wanted.
struct SolveView {
  ProblemView problem;
  Settings settings;
  ParametersView parameters;
  std::int64_t size;
  bool shared_matrices, infinite;
  bool hidden;  // outputs of instances without a solution are NaN, not where the loop ended
  bool again;   // only instances that are open, by the homogeneous loop
  std::span<const std::uint8_t> invalid;
  std::span<const double> start;
  std::span<double> outputs, tape, margin, residuals;
  std::span<std::int8_t> status;
  std::span<Index> iterations;
  std::int64_t* next;  // instance that no team has taken
  std::int64_t* open;  // how many instances the quadratic loop has left
};

// Derivatives in K directions. A block of consecutive instances is one team's, so that sums over the batch do not depend on who works.
struct AdjointView {
  ProblemView problem;
  ParametersView parameters;
  std::int64_t size, directions, block;
  bool shared_matrices;
  std::span<const double> tape;
  std::span<std::uint8_t> degenerate;
  // VJP
  std::span<const double> cotangent;
  std::span<double* const> gradients;     // of each parameter: K × (instances, or 1 where it is summed) × entries, or none
  std::span<const std::uint8_t> summed;
  std::span<double> partial;              // blocks × K × entries of the summed parameters
  std::int64_t summed_entries;
  // JVP
  ParametersView tangents;                // over directions and instances
  std::span<double> tangent_outputs;
  std::int64_t* next;
};

static_assert(std::is_trivially_copyable_v<SolveView> && std::is_trivially_copyable_v<AdjointView>);

}  // namespace cvxl
