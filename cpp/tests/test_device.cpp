// A device's engine on a driver without a device: what it is told, what it lends, and how it fails.

#include "cuda/device_engine.hpp"
#include "cuda/images.hpp"
#include "cuda/launch.hpp"
#include "engine_tools.hpp"

using namespace cvxl;
using namespace cvxl::testing;

namespace cvxl::cuda {

const unsigned char* const solve_image = reinterpret_cast<const unsigned char*>("solve");
const unsigned char* const adjoint_image = reinterpret_cast<const unsigned char*>("adjoint");
const unsigned char* const again_image = reinterpret_cast<const unsigned char*>("again");

}  // namespace cvxl::cuda

namespace {

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Environment() { unsetenv(name_); }
  Environment(const Environment&) = delete;

 private:
  const char* name_;
};

const cuda::Driver& driver() {
  static const cuda::Driver fake(CVXL_FAKE_CUDA);
  return fake;
}

cuda::DeviceBatch on_device(const BatchView& batch) {
  cuda::DeviceBatch to{batch.shape, {}, {}};
  for (const ParameterView& p : batch.parameters) {
    to.source.push_back({p.data, false});
    to.strides.push_back(p.strides);
  }
  return to;
}

Answer device_solve(const Engine& like, const cuda::DeviceBatch& batch, const Settings& settings = {}) {
  const cuda::DeviceEngine engine(like.problem(), driver(), 0);
  Answer answer(like, batch.size());
  engine.solve(batch, settings, {{}, {}, answer.outputs, answer.tape, {}, answer.residuals, answer.status, answer.iterations},
               nullptr);
  return answer;
}

std::string message(auto&& work) {
  try {
    work();
    return "";
  } catch (const cuda::DeviceError& error) {
    return error.what();
  }
}

}  // namespace

TEST(devices_solve_and_differentiate) {
  const Structure& s = workhorse();
  const Index B = 9;
  const Engine engine(mixed_problem(s), 4);
  // Programs that are all close to one that can be solved.
  Random random(4);
  const std::vector<double> shared = solvable_rows(s, 1, 3);
  std::vector<double> rows;
  for (Index i = 0; i < B; ++i)
    for (const double value : shared) rows.push_back(value + random.uniform(-1e-3, 1e-3));
  const BatchView batch = batch_of(B, {{rows.data(), s.values()}, {shared.data(), 0}});
  const Answer expected = solve(engine, batch), answer = device_solve(engine, on_device(batch));
  CHECK(answer.status == expected.status);
  for (std::size_t k = 0; k < answer.outputs.size(); ++k) CHECK_NEAR(answer.outputs[k], expected.outputs[k], 1e-9);

  const cuda::DeviceEngine device(engine.problem(), driver(), 0);
  std::vector<double> cotangent(static_cast<std::size_t>(B) * 3), tangent(rows.size());
  for (auto* v : {&cotangent, &tangent})
    for (double& c : *v) c = random.uniform();
  const Gradients wanted = vjp(engine, batch, expected.tape, cotangent, {false, true});
  std::vector<double> own(rows.size()), sum(shared.size());
  std::vector<std::uint8_t> degenerate(static_cast<std::size_t>(B));
  device.vjp(on_device(batch), {expected.tape, 1, cotangent, {own, sum}, degenerate}, nullptr);
  CHECK(degenerate == wanted.degenerate);
  for (std::size_t k = 0; k < own.size(); ++k) CHECK_NEAR(own[k], wanted.arrays[0][k], 1e-8);
  for (std::size_t k = 0; k < sum.size(); ++k) CHECK_NEAR(sum[k], wanted.arrays[1][k], 1e-8);

  const BatchView tangents = batch_of(B, {{tangent.data(), s.values()}, {nullptr, 0}});
  const Tangents moved = jvp(engine, batch, expected.tape, tangents);
  std::vector<double> out(moved.outputs.size());
  device.jvp(on_device(batch), {expected.tape, on_device(one_direction(tangents)), out, degenerate}, nullptr);
  for (std::size_t k = 0; k < out.size(); ++k) CHECK_NEAR(out[k], moved.outputs[k], 1e-8);
}

TEST(devices_read_single_precision_and_any_strides) {
  const Structure& s = workhorse();
  const Index B = 3;
  const Engine engine(plain_problem(s), 4);
  std::vector<double> rows = solvable_rows(s, B, 3);
  std::vector<float> turned(rows.size() * 2);  // by entries, each row of the batch reversed: strides may be negative
  for (std::size_t k = 0; k < rows.size(); ++k) rows[k] = static_cast<float>(rows[k]);
  const std::size_t values = static_cast<std::size_t>(s.values());
  for (std::size_t i = 0; i < 3; ++i)
    std::copy_n(rows.begin() + static_cast<long>(i * values), values, turned.begin() + static_cast<long>((2 - i) * values));
  const cuda::DeviceBatch batch{{B}, {{turned.data() + 2 * values, true}}, {{-static_cast<std::int64_t>(values)}}};
  const Answer answer = device_solve(engine, batch),
               expected = device_solve(engine, on_device(batch_of(B, {{rows.data(), s.values()}})));
  CHECK(identical(answer, expected));
}

TEST(an_instance_is_the_same_in_any_batch) {
  const Structure& s = workhorse();
  const Index B = 7;
  const Engine engine(plain_problem(s), 4);
  std::vector<double> rows = solvable_rows(s, B, 3);
  rows[static_cast<std::size_t>(2 * s.values())] = std::nan("");
  const Answer all = device_solve(engine, on_device(batch_of(B, {{rows.data(), s.values()}})));
  for (Index i = 0; i < B; ++i) {
    const Answer alone = device_solve(engine, on_device(batch_of(1, {{rows.data() + i * s.values(), 0}})));
    CHECK(identical(all, static_cast<std::size_t>(i), alone, 0) || i == 2);
    CHECK((all.outcome(i) == Status::invalid_input) == (i == 2));
  }
}

TEST(fewer_teams_work_where_memory_is_short) {
  const Structure& s = workhorse();
  const Index B = 9;
  const Engine engine(plain_problem(s), 4);
  const std::vector<double> rows = solvable_rows(s, B, 3);
  const cuda::DeviceBatch batch = on_device(batch_of(B, {{rows.data(), s.values()}}));
  const Answer plenty = device_solve(engine, batch);
  bool failed = false;
  for (long bytes = 1 << 22; bytes > 1 << 10 && !failed; bytes /= 2) {
    const Environment limit("FAKE_CUDA_MEMORY", std::to_string(bytes).c_str());
    const std::string said = message([&] { CHECK(identical(device_solve(engine, batch), plenty)); });
    failed = !said.empty();
    if (failed) CHECK(said.find("memory") != std::string::npos);
  }
  CHECK(failed);
}

TEST(workspace_is_borrowed_where_somebody_lends) {
  const Structure& s = workhorse();
  const Index B = 5;
  const Engine engine(plain_problem(s), 4);
  const std::vector<double> rows = solvable_rows(s, B, 3);
  const cuda::DeviceBatch batch = on_device(batch_of(B, {{rows.data(), s.values()}}));
  const Answer wanted = device_solve(engine, batch);
  const cuda::DeviceEngine device(engine.problem(), driver(), 0);
  const Environment limit("FAKE_CUDA_MEMORY", "0");
  std::vector<std::vector<std::byte>> lent;
  const auto lend = [&](std::size_t bytes) {
    lent.emplace_back(bytes + 64);
    return (reinterpret_cast<cuda::Pointer>(lent.back().data()) + 63) / 64 * 64;
  };
  Answer answer(engine, B);
  const cuda::DeviceSolve to{{}, {}, answer.outputs, answer.tape, {}, answer.residuals, answer.status, answer.iterations};
  CHECK(message([&] { device.solve(batch, {}, to, nullptr); }).find("memory") != std::string::npos);
  device.solve(batch, {}, to, nullptr, lend);
  CHECK(!lent.empty() && identical(answer, wanted));
}

TEST(arguments_of_a_call_may_be_long) {
  const Structure& s = workhorse();
  const Index B = 3;
  const Engine engine(plain_problem(s), 4);
  const std::vector<double> rows = solvable_rows(s, B, 3);
  cuda::DeviceBatch batch = on_device(batch_of(B, {{rows.data(), s.values()}}));
  const Answer wanted = device_solve(engine, batch);
  batch.shape.insert(batch.shape.begin(), 400, 1);  // axes of length one
  batch.strides[0].insert(batch.strides[0].begin(), 400, 0);
  CHECK(identical(device_solve(engine, batch), wanted));
}

TEST(what_devices_cannot_do_is_said) {
  CHECK(message([] { cuda::Driver("libno_such_driver.so"); }).find("there is no NVIDIA driver") == 0);
  {
    const Environment old("FAKE_CUDA_VERSION", "11040");
    CHECK(message([] { cuda::Driver{CVXL_FAKE_CUDA}; }).find("it is for CUDA 11.4, wanted is 12.0") != std::string::npos);
  }
  CHECK(message([] { cuda::DeviceEngine(plain_problem(workhorse()), driver(), 3); }).find("FAKE_ERROR") != std::string::npos);
  bool refused = false;
  try {
    cuda::DeviceEngine(plain_problem(conic_structures(5)[0].structure), driver(), 0);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

TEST(arrays_lie_near_as_far_as_there_is_room) {
  const Plan plan = make_plan(workhorse());
  const PlanView view(plan);
  const auto take = [&](Arena& arena) {
    arena.take<double>(std::size_t{4} << 10);
    for (int k = 0; k < 30; ++k) arena.take<double>(static_cast<std::size_t>(plan.m));
  };
  const cuda::Launch small = cuda::plan_launch(view, {8 << 10, 16 << 10, 2}, 2, take);
  const cuda::Launch large = cuda::plan_launch(view, {200 << 10, 220 << 10, 2}, 2, take);
  CHECK(small.threads == large.threads && small.teams == large.teams);
  CHECK(small.shared() <= 8 << 10 && small.slot > 0);
  CHECK(large.slot == 0 && large.near_slot > small.near_slot);
}

TEST(teams_grow_where_threads_would_be_idle) {
  const Plan plan = make_plan(workhorse());
  const auto launch = [&](std::int64_t tickets) {
    return cuda::plan_launch(PlanView(plan), {200 << 10, 220 << 10, 100}, tickets, [](Arena& arena) { arena.take<double>(4096); });
  };
  const cuda::Launch few = launch(100), many = launch(100000);
  CHECK(few.threads >= many.threads && many.threads * many.teams == 128);
  CHECK(few.shared() >= many.shared());
}
