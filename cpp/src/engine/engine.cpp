#include "cvxl/engine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>

#include "cvxl/status.hpp"
#include "cvxl/threads.hpp"
#include "engine/job.hpp"
#include "engine/pool.hpp"

namespace cvxl {
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
  // Kernels of one lane width, with the working memory that they take: of the first loop that instances meet, and of derivatives.
  struct Width {
    const Kernels* kernels;
    std::size_t solve_bytes, adjoint_bytes;
    double cost;  // of a pass over a pack, in passes of the widest
  };

  Compiled compiled;
  bool homogeneous;  // the first loop that instances meet
  // From wide to narrow: the first suits the structure, the others few instances. Those give the same bits where the compiler
  // contracts products and sums alike in all widths, which it does not in the cones beyond the orthant and in second derivatives.
  std::vector<Width> widths;
  bool single = false;  // whether the last of them serves every batch: one instance, whose rows fill registers

  Impl(Problem problem, int width) : compiled(std::move(problem)) {
    if (width != 0 && width != 1 && width != 2 && width != 4 && width != 8)
      throw std::invalid_argument("lane_width must be 1, 2, 4, 8 or 0");
    homogeneous = !compiled.plan.cones.empty();
    single = !homogeneous && (width == 1 || (width == 0 && has_large_fronts()));
    const Kernels* widest = &find_kernels(width == 1 ? 2 : width);
    if (width == 0 && widest->solve_arena(compiled, homogeneous) > wide_limit) widest = &find_kernels(4);
    add(*widest, 1.0);
    if (single) add(find_kernels(1), 1.0);
    if (single || width != 0 || homogeneous) return;
    if (widest->width > 4) add(find_kernels(4), half_cost);
    add(find_kernels(2), widest->width > 4 ? pair_cost : pair_cost / half_cost);
  }

  // Whether packs outgrow the caches: then one instance whose rows fill registers takes no longer than its share of a pack.
  bool has_large_fronts() const {
    return static_cast<double>(compiled.plan.flops) > large_front * static_cast<double>(compiled.plan.factor_nonzeros);
  }

  void add(const Kernels& kernels, double cost) {
    widths.push_back({&kernels, kernels.solve_arena(compiled, homogeneous), kernels.adjoint_arena(compiled), cost});
  }

  // As many threads as there are packs, and only one where waking another would take longer than the work.
  int threads(std::int64_t packs, int wanted, int passes) const {
    const double work = static_cast<double>(packs) * passes * (static_cast<double>(compiled.plan.flops) + 200.0 * compiled.plan.n);
    if (work < waking_flops) return 1;
    const int limit = wanted > 0 ? wanted : default_threads().count;
    return static_cast<int>(std::min<std::int64_t>(limit, packs));
  }

  // How to run a batch, in `any_width`, or in the one that suits cones and second derivatives: the width with which the thread that has most to do is done first, of equals the widest.
  struct Schedule {
    const Width* width;
    int threads;
  };
  Schedule schedule(std::int64_t instances, int wanted, int passes, bool any_width = true) const {
    Schedule best{};
    double least = std::numeric_limits<double>::infinity();
    const std::span<const Width> all(widths);
    for (const Width& width : !any_width ? all.first(1) : single ? all.last(1) : all) {
      const std::int64_t packs = (instances + width.kernels->width - 1) / width.kernels->width;
      const int count = threads(packs, wanted, passes);
      const double time = static_cast<double>((packs + count - 1) / count) * width.cost;
      if (time < least) {
        least = time;
        best = {&width, count};
      }
    }
    return best;
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

  // Splits the batch into whole packs, at most 64 blocks and few enough that the partial sums of each stay small. Sums are made of
  // the same blocks whatever the width that is chosen.
  void make_blocks(AdjointJob& job, const Width& chosen) const {
    const std::int64_t sums = job.directions * static_cast<std::int64_t>(job.summed_entries);
    const std::int64_t width = (sums > 0 ? widths.front() : chosen).kernels->width;
    const std::int64_t most = std::clamp<std::int64_t>(partial_entries / (sums + 1), 2, 64);
    const std::int64_t packs = (job.locator.size() + width - 1) / width;
    job.block_size = std::max<std::int64_t>(1, (packs + most - 1) / most) * width;
    job.blocks = (job.locator.size() + job.block_size - 1) / job.block_size;
    job.partial.assign(static_cast<std::size_t>(job.blocks * sums), 0.0);
  }

  // Decides which gradients are sums over the batch, and runs; then adds the blocks in their order.
  bool pull_back(AdjointJob& job, std::vector<std::span<double>> gradients, int count, const Interrupt& interrupt,
                 Kernels::Adjoint* Kernels::* kernel) const {
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
    widths.front().kernels->evaluate(compiled, pointers.data(), values.data());
    return values;
  }

  bool differentiate(AdjointJob& job, int wanted, const Interrupt& interrupt, Kernels::Adjoint* Kernels::* kernel) const {
    if (job.locator.size() == 0) return true;
    job.base = first_values(job.locator);
    job.varying_P = job.locator.varying(compiled.plan.P_source);
    job.varying_A = job.locator.varying(compiled.plan.A_source);
    const auto passes = static_cast<int>(std::min<std::int64_t>(1 + job.directions, 1000));
    const Schedule how = schedule(job.locator.size(), wanted, passes, kernel != &Kernels::hvp);
    make_blocks(job, *how.width);
    return execute(job, how.width->adjoint_bytes, how.threads, interrupt, how.width->kernels->*kernel);
  }

  // Twice the precision takes some fifty times as long: seconds, at most. It does not mend data that have been rounded.
  bool bears_precision(const Settings& settings) const {
    double flops = static_cast<double>(compiled.plan.flops);
    for (const Cone& cone : compiled.plan.cones)
      if (cone.kind == Cone::semidefinite || cone.whole()) flops += frame_flops * std::pow(cone.order, 3);
    return settings.rounding == 0.0 && flops <= precise_flops;
  }
  static Settings precise_settings(Settings settings) {
    settings.target *= settings.target;  // of a gap, whose root is the error of x
    settings.regularization *= 0x1p-50;  // as rounding is smaller (lanes/twofold.hpp)
    return settings;
  }

  static constexpr double precise_flops = 2e6, frame_flops = 50.0;  // of a pass; by order³
  static constexpr double large_front = 400.0;  // operations for a number of the factor
  static constexpr std::size_t wide_limit = std::size_t{4} << 20;
  static constexpr double waking_flops = 1e5;
  static constexpr double half_cost = 0.65, pair_cost = 0.58;  // of packs of four and two, in passes of a pack of eight
  static constexpr std::int64_t partial_entries = 1 << 22;
};

Engine::Engine(Problem problem, int lane_width) : impl_(std::make_unique<Impl>(std::move(problem), lane_width)) {}
Engine::~Engine() = default;

const Problem& Engine::problem() const { return impl_->compiled.problem; }

Description Engine::describe() const {
  const Plan& plan = impl_->compiled.plan;
  const auto& widest = impl_->single ? impl_->widths.back() : impl_->widths.front();
  return {widest.kernels->isa,  plan.ordering,  widest.kernels->width,
          plan.nodes,           plan.condensed, static_cast<Index>(plan.supernodes.size()),
          plan.factor_nonzeros, plan.flops,     static_cast<std::int64_t>(std::max(widest.solve_bytes, widest.adjoint_bytes))};
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
  const auto run = [&] {
    const auto [width, threads] = impl_->schedule(job.size(), settings.threads, 12, !job.again);
    const std::size_t bytes = job.again ? width->kernels->solve_arena(compiled, true) : width->solve_bytes;
    return impl_->execute(job, bytes, threads, interrupt, width->kernels->solve);
  };
  // Whether instances are left for a loop that takes longer, but those that ended so.
  const auto some_are_left = [&](Status but) {
    job.again = true;
    job.progress.next = 0;
    job.unresolved.clear();
    for (std::int64_t i = 0; i < job.locator.size(); ++i) {
      const double* residuals = request.residuals.empty() ? nullptr : request.residuals.data() + 4 * i;
      const auto status = static_cast<Status>(request.status[i]);
      if (status != but && is_unresolved(status, residuals, settings.rounding, settings.tolerance)) job.unresolved.push_back(i);
    }
    return !job.unresolved.empty();
  };
  bool completed = run();
  if (completed && !impl_->homogeneous && some_are_left(Status::solved)) completed = run();
  if (completed && impl_->bears_precision(settings) && some_are_left(Status::max_iterations)) {
    job.settings = Impl::precise_settings(settings);
    const int threads = impl_->threads(job.size(), settings.threads, 12);
    completed = impl_->execute(job, precise::solve_arena(compiled), threads, interrupt, precise::solve);
  }
  if (!completed || !compiled.problem.smoothed || request.tape.empty()) return completed;
  return centre(batch, request.tape, settings.smoothing, settings.threads, interrupt);
}

bool Engine::centre(const BatchView& batch, std::span<double> tape, double smoothing, int threads,
                    const Interrupt& interrupt) const {
  CentreJob job{impl_->compiled, tape, Locator(impl_->compiled, batch, 1.0), smoothing, {}};
  if (job.locator.size() == 0) return true;
  const auto [width, count] = impl_->schedule(job.locator.size(), threads, 12);
  return impl_->execute(job, width->kernels->centre_arena(impl_->compiled), count, interrupt, width->kernels->centre);
}

bool Engine::vjp(const BatchView& batch, const VjpRequest& request, int threads, const Interrupt& interrupt) const {
  AdjointJob job(impl_->compiled, batch, request.tape, request.directions, request.degenerate);
  job.cotangent = request.outputs;
  return impl_->pull_back(job, request.gradients, threads, interrupt, &Kernels::vjp);
}

bool Engine::jvp(const BatchView& batch, const JvpRequest& request, int threads, const Interrupt& interrupt) const {
  AdjointJob job(impl_->compiled, batch, request.tape, request.tangents.shape.front(), request.degenerate);
  job.tangents.emplace(impl_->compiled, request.tangents, 0.0);
  job.tangent_outputs = request.outputs;
  return impl_->differentiate(job, threads, interrupt, &Kernels::jvp);
}

bool Engine::hvp(const BatchView& batch, const HvpRequest& request, int threads, const Interrupt& interrupt) const {
  const VjpRequest& pull = request.pull;
  AdjointJob job(impl_->compiled, batch, pull.tape, pull.directions, pull.degenerate);
  job.cotangent = pull.outputs;
  job.tangents.emplace(impl_->compiled, request.tangents, 0.0);
  return impl_->pull_back(job, pull.gradients, threads, interrupt, &Kernels::hvp);
}

}  // namespace cvxl
