#pragma once
// A compiled problem on one device: solves and differentiates batches whose arrays are there. Linear and quadratic programs.

#include <functional>
#include <memory>
#include <optional>

#include "cuda/driver.hpp"
#include "engine/compiled.hpp"
#include "team/view.hpp"

namespace cvxl::cuda {

// Parameters of a batch on the device, as a BatchView has them on the host.
struct DeviceBatch {
  std::vector<std::int64_t> shape;
  std::vector<ParameterSource> source;
  std::vector<std::vector<std::int64_t>> strides;  // of each parameter, per axis

  std::int64_t size() const;
  // Whether it is the same in every instance.
  bool shared(std::size_t parameter) const;
};

// Where results go, on the device; spans as in a SolveRequest.
struct DeviceSolve {
  std::span<const std::uint8_t> invalid;
  std::span<const double> start;
  std::span<double> outputs, tape, margin, residuals;
  std::span<std::int8_t> status;
  std::span<Index> iterations;
  bool infinite = false, hidden = false;  // as in a SolveView
};

struct DeviceVjp {
  std::span<const double> tape;
  std::int64_t directions;
  std::span<const double> outputs;            // cotangents
  std::vector<std::span<double>> gradients;   // of each parameter: directions × (instances or 1) × entries, or none
  std::span<std::uint8_t> degenerate;
};

struct DeviceJvp {
  std::span<const double> tape;
  DeviceBatch tangents;  // axes: directions, then those of the batch
  std::span<double> outputs;
  std::span<std::uint8_t> degenerate;
};

// Lends device memory that lasts until what the call has queued on its stream is done; throws OutOfDeviceMemory. Empty: the driver.
using Lend = std::function<Pointer(std::size_t bytes)>;

// Every call is queued on the stream and returns before it is done. Throws DeviceError, or OutOfDeviceMemory where not even one
// block of teams has room.
class DeviceEngine {
 public:
  // Throws std::invalid_argument where the problem has cones or a smoothed derivative, which devices do not know.
  DeviceEngine(const Problem& problem, const Driver& driver, int device);
  ~DeviceEngine();

  void solve(const DeviceBatch&, const Settings&, const DeviceSolve&, Stream stream, const Lend& lend = {}) const;
  // Instances that are marked as degenerate have zero gradients, and may not be so: the host's engine decides.
  void vjp(const DeviceBatch&, const DeviceVjp&, Stream stream, const Lend& lend = {}) const;
  void jvp(const DeviceBatch&, const DeviceJvp&, Stream stream, const Lend& lend = {}) const;

  const Problem& problem() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cvxl::cuda
