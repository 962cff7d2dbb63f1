#pragma once
// What one call asks of every worker: the compiled problem, the batch, where to write, and the shared counters. As in compiled.hpp,
// nothing out here is kept by the kernels.

#include <atomic>
#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "engine/compiled.hpp"

namespace cvxl {

// Progress of a call over its workers.
struct Progress {
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stop{false};
  const Interrupt* interrupt = nullptr;

  // Polled by workers; the calling thread (worker 0) also asks the interrupt, every 50 ms.
  bool stopped(bool caller, std::chrono::steady_clock::time_point& last);
};

struct SolveJob {
  const Compiled& compiled;
  Settings settings;
  const SolveRequest& request;
  Locator locator;
  std::vector<double> base;              // values of the shared entries
  bool shared_matrices;
  mutable Progress progress;
  // Instances that are not settled yet: solved again by another loop, whose result counts where it is better.
  bool again = false;
  std::vector<std::int64_t> unresolved = {};

  bool homogeneous() const { return again || !compiled.plan.cones.empty(); }
  std::int64_t size() const { return again ? static_cast<std::int64_t>(unresolved.size()) : locator.size(); }
  std::int64_t instance(std::int64_t k) const { return again ? unresolved[static_cast<std::size_t>(k)] : k; }
};

struct CentreJob {
  const Compiled& compiled;
  std::span<double> tape;
  Locator locator;
  double smoothing;
  mutable Progress progress;
};

// Blocks of consecutive packs keep the sum over the batch independent of the number of threads. Arrays over directions and
// instances have the directions outside.
struct AdjointJob {
  const Compiled& compiled;
  Locator locator;
  std::span<const double> tape;
  std::int64_t directions;
  std::span<std::uint8_t> degenerate;
  std::vector<double> base = {};         // values of the shared entries
  std::vector<Index> varying_P = {}, varying_A = {};  // the other entries of P and A, in the plan's patterns
  std::int64_t block_size = 0, blocks = 0;
  // VJP, HVP
  std::span<const double> cotangent;
  std::vector<std::span<double>> gradients;
  std::vector<bool> summed;              // parameter → gradient is a sum over the batch
  std::size_t summed_entries = 0;
  std::vector<double> partial;           // blocks × directions × entries of the summed parameters
  // JVP, HVP
  std::optional<Locator> tangents;       // over directions and instances
  std::span<double> tangent_outputs;
  mutable Progress progress;

  AdjointJob(const Compiled& c, const BatchView& batch, std::span<const double> t, std::int64_t k, std::span<std::uint8_t> flags)
      : compiled(c), locator(c, batch, 1.0), tape(t), directions(k), degenerate(flags) {}

  double* partial_sums(std::int64_t block, std::int64_t direction) {
    return partial.data() + static_cast<std::size_t>(block * directions + direction) * summed_entries;
  }
};

// The entry points compiled once per instruction set and lane width.
struct Kernels {
  using Adjoint = void(AdjointJob&, std::byte* arena, bool caller);
  const char* isa;
  int width;
  void (*evaluate)(const Compiled&, const double* const* parameters, double* values);
  std::size_t (*solve_arena)(const Compiled&, bool homogeneous);
  std::size_t (*adjoint_arena)(const Compiled&);
  std::size_t (*centre_arena)(const Compiled&);
  void (*solve)(const SolveJob&, std::byte* arena, bool caller);
  Adjoint *vjp, *jvp, *hvp;  // the last not for single instances
  void (*centre)(const CentreJob&, std::byte* arena, bool caller);
};

// The homogeneous loop in twice the precision, one instance at a time, whatever the instruction set (batch/precise.cpp).
namespace precise {
std::size_t solve_arena(const Compiled&);
void solve(const SolveJob& job, std::byte* arena, bool caller);
}  // namespace precise

// Kernels of an instruction set (empty: the best one, or CVXPYLAYERS_ISA) for a lane width.
const Kernels& find_kernels(int width);

}  // namespace cvxl
