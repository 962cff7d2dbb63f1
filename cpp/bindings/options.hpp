#pragma once
// The options of a solve by name: the one list behind what is parsed, what handlers of XLA are told, and what Python calls the
// defaults.
#include "cvxl/settings.hpp"

namespace cvxl {

// Calls f(name, field) for every option of `settings` that a user may give.
template <class Fields, class F>
void each_option(Fields& settings, F&& f) {
  f("max_iterations", settings.max_iterations);
  f("tolerance", settings.tolerance);
  f("target", settings.target);
  f("infeasibility_tolerance", settings.infeasibility_tolerance);
  f("step_fraction", settings.step_fraction);
  f("regularization", settings.regularization);
  f("smoothing", settings.smoothing);
  f("polish", settings.polish);
  f("equilibrate", settings.equilibrate);
  f("threads", settings.threads);
}

}  // namespace cvxl
