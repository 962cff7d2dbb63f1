#include "cvxl/engine.hpp"

#include <algorithm>
#include <stdexcept>

#include "cvxl/status.hpp"
#include "cvxl/threads.hpp"
#include "engine/job.hpp"
#include "engine/pool.hpp"

namespace cvxl {
namespace {

bool unresolved(Status status) {
  return status == Status::almost_solved || status == Status::max_iterations || status == Status::insufficient_progress ||
         status == Status::numerical_error;
}

}  // namespace

bool Progress::stopped(bool caller, std::chrono::steady_clock::time_point& last) {
  if (caller && interrupt && *interrupt) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last > std::chrono::milliseconds(50)) {
      last = now;
      if ((*interrupt)()) stop = true;
    }
  }
  return stop.load(std::memory_order_relaxed);
}

struct Engine::Impl {
  Compiled compiled;
  const Kernels* kernels;
  bool homogeneous;  // the first loop that instances meet
  std::size_t solve_bytes, adjoint_bytes;

  Impl(Problem problem, int width) : compiled(std::move(problem)) {
    if (width != 0 && width != 4 && width != 8) throw std::invalid_argument("lane_width must be 4, 8 or 0");
    kernels = &find_kernels(width);
    homogeneous = !compiled.plan.cones.empty();
    if (width == 0 && kernels->solve_arena(compiled, homogeneous) > wide_limit) kernels = &find_kernels(4);
    solve_bytes = kernels->solve_arena(compiled, homogeneous);
    adjoint_bytes = kernels->adjoint_arena(compiled);
  }

  // As many threads as there are packs, and only one where waking another would take longer than the work.
  int threads(std::int64_t instances, int wanted, int passes) const {
    const std::int64_t packs = (instances + kernels->width - 1) / kernels->width;
    const double work = static_cast<double>(packs) * passes * (static_cast<double>(compiled.plan.flops) + 200.0 * compiled.plan.n);
    if (work < waking_flops) return 1;
    const int limit = wanted > 0 ? wanted : default_threads().count;
    return static_cast<int>(std::min<std::int64_t>(limit, packs));
  }

  template <class Job, class Run>
  bool execute(Job& job, std::size_t bytes, int count, const Interrupt& interrupt, Run run) const {
    job.progress.interrupt = &interrupt;
    run_parallel(count, [&](int worker) {
      const ArenaLease arena(bytes);
      run(job, arena.data(), worker == 0);
    });
    return !job.progress.stop;
  }

  // Splits the batch into whole packs, at most 64 blocks and few enough that the partial sums of each stay small.
  void make_blocks(AdjointJob& job) const {
    const std::int64_t sums = job.directions * static_cast<std::int64_t>(job.summed_entries);
    const std::int64_t most = std::clamp<std::int64_t>(partial_entries / (sums + 1), 2, 64);
    const std::int64_t packs = (job.locator.size() + kernels->width - 1) / kernels->width;
    job.block_size = std::max<std::int64_t>(1, (packs + most - 1) / most) * kernels->width;
    job.blocks = (job.locator.size() + job.block_size - 1) / job.block_size;
    job.partial.assign(static_cast<std::size_t>(job.blocks * sums), 0.0);
  }

  // Decides which gradients are sums over the batch, and runs; then adds the blocks in their order.
  bool pull_back(AdjointJob& job, std::vector<std::span<double>> gradients, int count, const Interrupt& interrupt,
                 Kernels::Adjoint* kernel) const {
    const std::size_t K = static_cast<std::size_t>(job.directions);
    job.gradients = std::move(gradients);
    for (std::size_t p = 0; p < job.gradients.size(); ++p) {
      const auto size = static_cast<std::size_t>(compiled.problem.parameter_sizes[p]);
      job.summed.push_back(job.gradients[p].size() == K * size);
      if (job.summed[p]) job.summed_entries += size;
      std::fill(job.gradients[p].begin(), job.gradients[p].end(), 0.0);
    }
    if (!differentiate(job, count, interrupt, kernel)) return false;
    std::size_t offset = 0;
    for (std::size_t p = 0; p < job.gradients.size(); ++p) {
      if (!job.summed[p] || job.gradients[p].empty()) continue;
      const std::size_t size = job.gradients[p].size() / K;
      for (std::size_t row = 0; row < static_cast<std::size_t>(job.blocks) * K; ++row)
        for (std::size_t e = 0; e < size; ++e)
          job.gradients[p][row % K * size + e] += job.partial[row * job.summed_entries + offset + e];
      offset += size;
    }
    return true;
  }

  // The value vector of the first instance, which shares entries with all.
  std::vector<double> first_values(const Locator& locator) const {
    std::vector<const double*> pointers(compiled.problem.parameter_sizes.size() + 1);
    locator.locate(0, pointers.data());
    std::vector<double> values(compiled.problem.structure.values());
    kernels->evaluate(compiled, pointers.data(), values.data());
    return values;
  }

  bool differentiate(AdjointJob& job, int wanted, const Interrupt& interrupt, Kernels::Adjoint* kernel) const {
    if (job.locator.size() == 0) return true;
    job.base = first_values(job.locator);
    job.varying_P = job.locator.varying(compiled.plan.P_source);
    job.varying_A = job.locator.varying(compiled.plan.A_source);
    make_blocks(job);
    const auto passes = static_cast<int>(std::min<std::int64_t>(1 + job.directions, 1000));
    return execute(job, adjoint_bytes, threads(job.locator.size(), wanted, passes), interrupt, kernel);
  }

  static constexpr std::size_t wide_limit = std::size_t{4} << 20;
  static constexpr double waking_flops = 1e5;
  static constexpr std::int64_t partial_entries = 1 << 22;
};

Engine::Engine(Problem problem, int lane_width) : impl_(std::make_unique<Impl>(std::move(problem), lane_width)) {}
Engine::~Engine() = default;

const Problem& Engine::problem() const { return impl_->compiled.problem; }

Description Engine::describe() const {
  const Plan& plan = impl_->compiled.plan;
  return {impl_->kernels->isa,  plan.ordering,  impl_->kernels->width,
          plan.nodes,           plan.condensed, static_cast<Index>(plan.supernodes.size()),
          plan.factor_nonzeros, plan.flops,     static_cast<std::int64_t>(std::max(impl_->solve_bytes, impl_->adjoint_bytes))};
}

bool Engine::solve(const BatchView& batch, const Settings& settings, const SolveRequest& request,
                   const Interrupt& interrupt) const {
  const Compiled& compiled = impl_->compiled;
  const Structure& s = compiled.problem.structure;
  SolveJob job{compiled, settings, request, Locator(compiled, batch, 1.0), {}, true, {}};
  if (job.locator.size() == 0) return true;
  job.base = impl_->first_values(job.locator);
  // Matrices are scaled once for all where every instance has the same, all rows included; a NaN among them is left for the loads
  // to report.
  job.shared_matrices = !request.infinite;
  for (Index v = 0; v < s.values(); ++v)
    if (const auto kind = compiled.place[v].kind; kind == Place::P || kind == Place::A)
      job.shared_matrices &= job.locator.shared(v) && job.base[v] - job.base[v] == 0.0;
  const auto run = [&](std::size_t bytes) {
    return impl_->execute(job, bytes, impl_->threads(job.size(), settings.threads, 12), interrupt, impl_->kernels->solve);
  };
  bool completed = run(impl_->solve_bytes);
  if (completed && !impl_->homogeneous) {
    // Of data that are rounded and contradict themselves nobody can solve more.
    const auto contradicts = [&](std::int64_t i) {
      return settings.rounding > 0.0 && !request.residuals.empty() &&
             request.status[i] == static_cast<std::int8_t>(Status::almost_solved) &&
             std::max(request.residuals[4 * i + 1], request.residuals[4 * i + 2]) <= settings.tolerance;
    };
    for (std::int64_t i = 0; i < job.locator.size(); ++i)
      if (unresolved(static_cast<Status>(request.status[i])) && !contradicts(i)) job.unresolved.push_back(i);
    if (!job.unresolved.empty()) {
      job.again = true;
      job.progress.next = 0;
      completed = run(impl_->kernels->solve_arena(compiled, true));
    }
  }
  if (!completed || !compiled.problem.smoothed || request.tape.empty()) return completed;
  return centre(batch, request.tape, settings.smoothing, settings.threads, interrupt);
}

bool Engine::centre(const BatchView& batch, std::span<double> tape, double smoothing, int threads,
                    const Interrupt& interrupt) const {
  CentreJob job{impl_->compiled, tape, Locator(impl_->compiled, batch, 1.0), smoothing, {}};
  if (job.locator.size() == 0) return true;
  const Kernels& kernels = *impl_->kernels;
  return impl_->execute(job, kernels.centre_arena(impl_->compiled), impl_->threads(job.locator.size(), threads, 12), interrupt,
                        kernels.centre);
}

bool Engine::vjp(const BatchView& batch, const VjpRequest& request, int threads, const Interrupt& interrupt) const {
  AdjointJob job(impl_->compiled, batch, request.tape, request.directions, request.degenerate);
  job.cotangent = request.outputs;
  return impl_->pull_back(job, request.gradients, threads, interrupt, impl_->kernels->vjp);
}

bool Engine::jvp(const BatchView& batch, const JvpRequest& request, int threads, const Interrupt& interrupt) const {
  AdjointJob job(impl_->compiled, batch, request.tape, request.tangents.shape.front(), request.degenerate);
  job.tangents.emplace(impl_->compiled, request.tangents, 0.0);
  job.tangent_outputs = request.outputs;
  return impl_->differentiate(job, threads, interrupt, impl_->kernels->jvp);
}

bool Engine::hvp(const BatchView& batch, const HvpRequest& request, int threads, const Interrupt& interrupt) const {
  const VjpRequest& pull = request.pull;
  AdjointJob job(impl_->compiled, batch, pull.tape, pull.directions, pull.degenerate);
  job.cotangent = pull.outputs;
  job.tangents.emplace(impl_->compiled, request.tangents, 0.0);
  return impl_->pull_back(job, pull.gradients, threads, interrupt, impl_->kernels->hvp);
}

}  // namespace cvxl
