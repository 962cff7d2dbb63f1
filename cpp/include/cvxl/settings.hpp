#pragma once

namespace cvxl {

// Options of a solve. Tolerances are relative, on the user's scale of the data (Clarabel's termination test).
struct Settings {
  int max_iterations = 100;
  double tolerance = 1e-8;         // residuals and gap below which an instance is solved
  double target = 1e-11;           // the loop goes on to this while it makes progress: users differentiate x
  double reduced_tolerance = 1e-5; // almost_solved
  double infeasibility_tolerance = 1e-8;
  double step_fraction = 0.99;     // fraction of the distance to the boundary
  double regularization = 1e-9;    // proximal terms rho = delta, in equilibrated units
  double smoothing = 1e-4;         // μ of the central path, where derivatives are smoothed
  bool polish = true;
  bool equilibrate = true;
  int threads = 0;                 // 0: default_threads()
};

}  // namespace cvxl
