#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cvxl/program.hpp"
#include "cvxl/settings.hpp"
#include "cvxl/status.hpp"

namespace cvxl {

// One parameter of a batch: `data` points at the entries of instance 0; `strides[k]` (in doubles) moves along batch axis k and
// is 0 where the parameter is shared. The entries of one instance are contiguous.
struct ParameterView {
  const double* data = nullptr;
  std::vector<std::int64_t> strides;
};

struct BatchView {
  std::vector<std::int64_t> shape;        // batch axes
  std::vector<ParameterView> parameters;  // data may be null in a tangent: zero
  std::int64_t size() const;
};

// Where a solve writes. Every span is row-major over instances and either full or empty (not wanted), but for `outputs`,
// `status` and `iterations`, which are always full. `invalid` marks instances not to be solved. `infinite` says that b may be
// infinite on nonnegative rows: +∞ switches a row off (its multiplier is 0, its slack ∞), -∞ makes the instance infeasible.
//
// Points are rows (x, z, s) of n + 2m numbers, NaN where there is none: a tape has one for every instance with a solution, which is
// all that a derivative needs of a solve.
struct SolveRequest {
  std::span<const std::uint8_t> invalid;
  std::span<double> outputs;            // B × outputs
  std::span<double> tape;               // B points
  std::span<std::int8_t> status;        // B
  std::span<Index> iterations;          // B
  std::span<double> residuals;          // B × 4: primal, dual, gap, objective
  std::span<double> margin = {};        // B: of strict complementarity (cones/margin.hpp), in the user's units
  std::span<const double> start = {};   // B points: polyhedral instances try their active sets first
  bool infinite = false;
};

// Derivatives take K directions at once: each instance is factored once and solved K times. `gradients[i]` is empty (not wanted),
// K × B × size (one row per instance), or K × size: sums over the batch. Instances without a point on the tape contribute zero.
struct VjpRequest {
  std::span<const double> tape;         // B points
  std::int64_t directions;              // K
  std::span<const double> outputs;      // cotangents, K × B × outputs
  std::vector<std::span<double>> gradients;
  std::span<std::uint8_t> degenerate;   // B
};

// The shape of `tangents` is that of the batch with one more leading axis, K.
struct JvpRequest {
  std::span<const double> tape;         // B points
  BatchView tangents;
  std::span<double> outputs;            // tangents, K × B × outputs
  std::span<std::uint8_t> degenerate;   // B
};

// The derivative of `pull`, its cotangents held fixed, along `tangents` (as in a JvpRequest).
struct HvpRequest {
  VjpRequest pull;
  BatchView tangents;
};

struct Description {
  std::string isa;
  std::string ordering;
  int lane_width = 0;
  Index kkt_dimension = 0;
  Index condensed_rows = 0;
  Index supernodes = 0;
  std::int64_t factor_nonzeros = 0;
  std::int64_t factor_flops = 0;
  std::int64_t arena_bytes = 0;         // working memory of one thread
};

// Called by the calling thread every few milliseconds during long work; true stops the batch.
using Interrupt = std::function<bool()>;

// A compiled problem. Immutable after construction; every method may be called from several threads at once.
class Engine {
 public:
  // lane_width 0 chooses from the working set, and a narrower one for calls with few instances; a machine without 8 lanes uses 4.
  // 1 is for linear and quadratic programs: others have 2.
  // Throws std::invalid_argument on inconsistent input, std::length_error where the factor would outgrow its 32-bit indices.
  explicit Engine(Problem problem, int lane_width = 0);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Each returns false if it was interrupted. Where the problem is smoothed, the tape of a solve holds points of the central path
  // at `settings.smoothing` (the outputs are exact), and derivatives are those of such points.
  bool solve(const BatchView&, const Settings&, const SolveRequest&, const Interrupt& = {}) const;
  bool vjp(const BatchView&, const VjpRequest&, int threads, const Interrupt& = {}) const;
  bool jvp(const BatchView&, const JvpRequest&, int threads, const Interrupt& = {}) const;
  bool hvp(const BatchView&, const HvpRequest&, int threads, const Interrupt& = {}) const;

  // Moves the points of a tape from solutions to the point of the central path s∘z = μe, μ = `smoothing` in the user's units.
  bool centre(const BatchView&, std::span<double> tape, double smoothing, int threads, const Interrupt& = {}) const;

  const Problem& problem() const;
  Description describe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Instruction sets built in that this machine can run, best first; CVXPYLAYERS_ISA chooses another than the first.
std::vector<std::string> available_instruction_sets();

}  // namespace cvxl
