#pragma once
#include <cstdint>

namespace cvxl {

// Outcome of one instance; the values are those of cvxpylayers._program.Status.
enum class Status : std::int8_t {
  solved = 0,
  almost_solved = 1,
  primal_infeasible = 2,
  dual_infeasible = 3,
  max_iterations = 4,
  insufficient_progress = 5,
  numerical_error = 6,
  invalid_input = 7,
};

// Whether an instance that the quadratic loop ends like this goes to the homogeneous one, whose result counts where it is better.
constexpr bool is_unresolved(Status status) {
  return status == Status::almost_solved || (status >= Status::max_iterations && status <= Status::numerical_error);
}

// The same with what is known of it: residuals (primal, dual, gap, objective) may be null. Of data that are rounded and contradict
// themselves nobody can solve more.
constexpr bool is_unresolved(Status status, const double* residuals, double rounding, double tolerance) {
  const bool contradicts =
      rounding > 0.0 && residuals && status == Status::almost_solved && residuals[1] <= tolerance && residuals[2] <= tolerance;
  return is_unresolved(status) && !contradicts;
}

}  // namespace cvxl
