#include "cuda/device_engine.hpp"

#include <algorithm>
#include <mutex>

#include "cuda/images.hpp"
#include "cuda/launch.hpp"
#include "cuda/threads.hpp"
#include "cuda/views.hpp"
#include "plan/team_plan.hpp"
#include "team/adjoint.hpp"
#include "team/solve.hpp"

namespace cvxl::cuda {
namespace {

using V = CVXL_ISA::Number;

// Device memory until the stream has come so far.
class Memory {
 public:
  Memory(const Driver& driver, std::size_t bytes, Stream stream, const Lend& lend = {})
      : driver_(driver), stream_(stream), own_(!lend) {
    bytes = std::max<std::size_t>(bytes, 16);
    at_ = own_ ? driver.allocate(bytes, stream) : lend(bytes);
  }
  ~Memory() {
    if (!own_) return;
    try {
      driver_.release(at_, stream_);
    } catch (const DeviceError&) {  // whoever uses the device next is told
    }
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  Pointer get() const { return at_; }

 private:
  const Driver& driver_;
  Stream stream_;
  bool own_;
  Pointer at_;
};

}  // namespace

std::int64_t DeviceBatch::size() const {
  std::int64_t size = 1;
  for (const std::int64_t axis : shape) size *= axis;
  return size;
}

bool DeviceBatch::shared(std::size_t parameter) const {
  for (std::size_t a = 0; a < shape.size(); ++a)
    if (shape[a] > 1 && strides[parameter][a] != 0) return false;
  return true;
}

struct DeviceEngine::Impl {
  const Driver& driver;
  Context context = nullptr;
  const Compiled compiled;
  const TeamPlan plan;
  const ProblemView host;  // for measuring
  ProblemView view;        // on the device
  DeviceLimits limits{};
  Function solve = nullptr, again = nullptr, vjp = nullptr, jvp = nullptr, sum = nullptr, write = nullptr;
  std::unique_ptr<Memory> constants;

  Impl(const Problem& problem, const Driver& d, int number)
      : driver(d), compiled(problem), plan(compiled.plan), host(compiled, plan.view()), view(host) {
    if (!compiled.plan.cones.empty() || problem.smoothed)
      throw std::invalid_argument("devices solve linear and quadratic programs, and have no smoothed derivatives");
    if (!solve_image && !driver.brings_kernels()) throw DeviceError(no_kernels);
    context = driver.retain(number);
    driver.use(context);
    limits = {static_cast<std::size_t>(driver.attribute(number, Attribute::shared_memory_per_block_optin)),
              static_cast<std::size_t>(driver.attribute(number, Attribute::shared_memory_per_processor)),
              driver.attribute(number, Attribute::processors)};
    const Module solving = driver.load(solve_image), differentiating = driver.load(adjoint_image);
    solve = driver.function(solving, "cvxl_solve");
    write = driver.function(solving, "cvxl_write");
    again = driver.function(driver.load(again_image), "cvxl_solve_again");
    vjp = driver.function(differentiating, "cvxl_vjp");
    jvp = driver.function(differentiating, "cvxl_jvp");
    sum = driver.function(differentiating, "cvxl_sum_blocks");
    Upload upload;
    add_problem(upload, view);
    constants = std::make_unique<Memory>(driver, upload.bytes(), nullptr);
    upload.send(driver, constants->get(), nullptr);
    driver.wait(nullptr);
  }

  // Whether P and A are the same in every instance.
  bool shares_matrices(const DeviceBatch& batch) const {
    for (std::size_t v = 0; v < compiled.place.size(); ++v) {
      if (compiled.place[v].kind != Place::P && compiled.place[v].kind != Place::A) continue;
      for (Index t = compiled.values.begin[v]; t < compiled.values.begin[v + 1]; ++t)
        if (const auto p = static_cast<std::size_t>(compiled.values.terms[t].parameter);
            p < batch.source.size() && !batch.shared(p))
          return false;
    }
    return true;
  }

  // Runs a kernel on a job for `count` tickets: with as many teams as are resident and have room, at least one block of them.
  template <class Job>
  void run(Function kernel, Job& job, std::int64_t count, Launch launch, Stream stream, const Lend& lend) const {
    driver.allow_shared_memory(kernel, launch.shared());
    const auto threads = static_cast<int>(launch.threads * launch.teams);
    const int resident = std::max(1, driver.resident_blocks(kernel, threads, launch.shared())) * limits.processors;
    auto blocks = std::min<std::int64_t>(resident, (count + launch.teams - 1) / launch.teams);
    const std::size_t of_block = launch.slot * launch.teams;
    while (true) {
      try {
        const Memory slots(driver, of_block * static_cast<std::size_t>(blocks), stream, lend);
        Pointer memory = slots.get();
        void* arguments[] = {&job, &memory, &launch.slot, &launch.near_slot};
        driver.launch(kernel, static_cast<unsigned>(blocks), launch.threads, launch.teams, launch.shared(), stream, arguments);
        return;
      } catch (const OutOfDeviceMemory&) {
        if (blocks == 1)
          throw OutOfDeviceMemory("the device has too little memory left: " + std::to_string(of_block) +
                                  " bytes are needed besides inputs and outputs");
        blocks /= 2;
      }
    }
  }

  // What `Owner` needs for a job of so many tickets.
  template <class Owner, class Job>
  Launch launch_of(const Job& job, std::int64_t tickets) const {
    Job measured = job;
    measured.problem = host;
    return plan_launch(plan.view(), limits, tickets, [&](Arena& arena) { const Owner memory(measured, arena); });
  }
};

namespace {

// What a call brings, and counters that are zero, on the device.
class Call {
 public:
  Call(const Driver& driver, Function write, Upload& upload, Stream stream, const Lend& lend)
      : counters_(zeros), memory_(driver, add(upload), stream, lend) {
    upload.write(driver, write, memory_.get(), stream);
  }
  std::int64_t* counter(std::size_t k) const { return const_cast<std::int64_t*>(&counters_[k]); }

 private:
  static constexpr std::int64_t zeros[3] = {};

  std::size_t add(Upload& upload) {
    upload.add(counters_);
    return upload.bytes();
  }

  std::span<const std::int64_t> counters_;
  Memory memory_;
};

}  // namespace

DeviceEngine::DeviceEngine(const Problem& problem, const Driver& driver, int device)
    : impl_(std::make_unique<Impl>(problem, driver, device)) {}
DeviceEngine::~DeviceEngine() = default;
const Problem& DeviceEngine::problem() const { return impl_->compiled.problem; }

void DeviceEngine::solve(const DeviceBatch& batch, const Settings& settings, const DeviceSolve& to, Stream stream,
                         const Lend& lend) const {
  if (batch.size() == 0) return;
  impl_->driver.use(impl_->context);
  const Flat flat(batch);
  const std::int64_t count = batch.size();
  SolveView job{impl_->view,   settings,  flat.view(1.0), count,        !to.infinite && impl_->shares_matrices(batch),
                to.infinite,   to.hidden, false,          to.invalid,   to.start,
                to.outputs,    to.tape,   to.margin,      to.residuals, to.status,
                to.iterations, nullptr,   nullptr};
  Upload upload;
  add_parameters(upload, job.parameters);
  const Call call(impl_->driver, impl_->write, upload, stream, lend);
  job.next = call.counter(0);
  job.open = call.counter(1);
  impl_->run(impl_->solve, job, count, impl_->launch_of<CVXL_ISA::SolveMemory<V>>(job, count), stream, lend);
  // The kernel that follows ends at once where nothing is open; mostly it is little.
  job.again = true;
  job.shared_matrices = false;
  job.next = call.counter(2);
  const std::int64_t few = std::min<std::int64_t>(count, 2 * impl_->limits.processors);
  impl_->run(impl_->again, job, few, impl_->launch_of<CVXL_ISA::AgainMemory<V>>(job, few), stream, lend);
}

void DeviceEngine::vjp(const DeviceBatch& batch, const DeviceVjp& to, Stream stream, const Lend& lend) const {
  if (batch.size() == 0) return;
  const Driver& driver = impl_->driver;
  driver.use(impl_->context);
  const std::int64_t K = to.directions, size = batch.size();
  std::vector<double*> gradients;
  std::vector<std::uint8_t> summed;
  std::int64_t entries = 0;
  for (std::size_t p = 0; p < to.gradients.size(); ++p) {
    const auto own = static_cast<std::int64_t>(impl_->compiled.problem.parameter_sizes[p]);
    const bool wanted = !to.gradients[p].empty();
    gradients.push_back(wanted ? to.gradients[p].data() : nullptr);
    summed.push_back(wanted && size > 1 && static_cast<std::int64_t>(to.gradients[p].size()) == K * own);
    if (summed.back()) entries += own;
  }
  // Blocks are a function of the call alone: as many as keep a device busy, but their sums take 64 MB at most, or are 64.
  const std::int64_t most = std::clamp<std::int64_t>((std::int64_t{8} << 20) / std::max<std::int64_t>(K * entries, 1), 64, 4096);
  const std::int64_t block = entries > 0 ? (size + most - 1) / most : 1, blocks = (size + block - 1) / block;
  const std::size_t sums = static_cast<std::size_t>(blocks * K * entries) * sizeof(double);
  const Memory partial(driver, sums, stream, lend);
  if (sums > 0) driver.clear(partial.get(), sums, stream);
  const Flat flat(batch);
  AdjointView job{impl_->view, flat.view(1.0),
                  size,        K,
                  block,       false,
                  to.tape,     to.degenerate,
                  to.outputs,  gradients,
                  summed,      {reinterpret_cast<double*>(partial.get()), sums / sizeof(double)},
                  entries,     {},
                  {},          nullptr};
  Upload upload;
  add_parameters(upload, job.parameters);
  upload.add(job.gradients);
  upload.add(job.summed);
  const Call call(impl_->driver, impl_->write, upload, stream, lend);
  job.next = call.counter(0);
  impl_->run(impl_->vjp, job, blocks, impl_->launch_of<CVXL_ISA::TeamAdjoint<V>>(job, blocks), stream, lend);
  Pointer from = partial.get();
  for (std::size_t p = 0; p < summed.size(); ++p) {
    if (!summed[p]) continue;
    std::int64_t own = impl_->compiled.problem.parameter_sizes[p], of_block = blocks, directions = K;
    double* gradient = gradients[p];
    void* arguments[] = {&from, &of_block, &directions, &entries, &own, &gradient};
    driver.launch(impl_->sum, static_cast<unsigned>((K * own + 255) / 256), 256, 1, 0, stream, arguments);
    from += static_cast<Pointer>(own) * sizeof(double);
  }
}

void DeviceEngine::jvp(const DeviceBatch& batch, const DeviceJvp& to, Stream stream, const Lend& lend) const {
  if (batch.size() == 0) return;
  impl_->driver.use(impl_->context);
  const Flat flat(batch), tangents(to.tangents);
  AdjointView job{impl_->view,
                  flat.view(1.0),
                  batch.size(),
                  to.tangents.shape.front(),
                  1,
                  false,
                  to.tape,
                  to.degenerate,
                  {},
                  {},
                  {},
                  {},
                  0,
                  tangents.view(0.0),
                  to.outputs,
                  nullptr};
  Upload upload;
  add_parameters(upload, job.parameters);
  add_parameters(upload, job.tangents);
  const Call call(impl_->driver, impl_->write, upload, stream, lend);
  job.next = call.counter(0);
  impl_->run(impl_->jvp, job, batch.size(), impl_->launch_of<CVXL_ISA::TeamAdjoint<V>>(job, batch.size()), stream, lend);
}

}  // namespace cvxl::cuda
