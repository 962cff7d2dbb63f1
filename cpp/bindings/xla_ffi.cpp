// XLA custom calls: buffers become spans, single precision becomes double, and back. No Python, no GIL.
//
// Operands, with parameters θ_i (*batch_i, size_i) in float32 or float64, and tapes of points (*batch, 2·(n + 2m)), doubles as
// pairs of uint32, which exist whether or not JAX's x64 mode is on:
//   solve  θ… [, tape]                → outputs (*batch, outputs), status, iterations, residuals (*batch, 4), margin [, tape]
//   jvp    θ…, tape, tangents…        → outputs ([K,] *batch, outputs)
//   vjp    θ…, tape, outputs          → gradients ([K,] *batch, size_i) or, summed over the batch, ([K,] size_i) …, degenerate
//   hvp    θ…, tape, outputs, tangents…  → as vjp
// A solve may start from the tape of another. Only the tangents marked `given` are passed, only the gradients marked `wanted` are
// returned. `directions` says that there is an axis K: all directions are taken at one factorization.

#include "xla_ffi.hpp"

#include "options.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "xla_buffers.hpp"

namespace cvxl {
namespace {

using xla::Buffer, xla::Call, xla::Doubles, xla::Room, xla::Shape, xla::entries, xla::pairs, xla::parameters, xla::require,
    xla::shape, xla::view;

// Equal problems share a key; their engines give equal results, so that any one alive will do.
struct Program {
  std::vector<std::weak_ptr<const Engine>> engines;
  std::vector<Domain> domains;
  Tolerances tolerances;
};

std::mutex programs_mutex;
std::unordered_map<std::int64_t, Program>& programs() {
  static auto* map = new std::unordered_map<std::int64_t, Program>;  // outlives whatever runs at exit
  return *map;
}

std::pair<std::shared_ptr<const Engine>, const Program*> find(std::int64_t key) {
  const std::lock_guard<std::mutex> lock(programs_mutex);
  if (const auto found = programs().find(key); found != programs().end())
    for (const auto& candidate : found->second.engines)
      if (auto engine = candidate.lock()) return {engine, &found->second};  // entries are never erased
  throw std::invalid_argument("this program calls a CvxpyLayer that does not exist in this process: build the same layer first");
}

Settings settings(const Call& call) {
  Settings s;
  each_option(s, [&](const char* name, auto& value) {
    if (call.has(name)) value = static_cast<std::decay_t<decltype(value)>>(call.number(name));
  });
  return s;
}

void solve(const Call& call) {
  const auto [engine, program] = find(call.integer("key"));
  const auto& sizes = engine->problem().parameter_sizes;
  const bool warm = call.arguments() == sizes.size() + 1, tape = call.results() == 6;
  require((warm || call.arguments() == sizes.size()) && (tape || call.results() == 5), "solve: wrong number of operands");
  std::vector<Doubles> arrays = parameters(call, sizes.size());
  bool infinite = false;
  for (std::size_t i = 0; i < arrays.size(); ++i)
    if (program->domains[i].unbounded) infinite |= arrays[i].open(program->tolerances.infinite);
  const BatchView batch = view(arrays, shape(call.result(1)), sizes);
  const std::span<const double> rounding = call.numbers("rounding");
  require(rounding.size() == sizes.size(), "solve: one rounding per parameter is needed");
  std::vector<std::span<const double>> numbers;
  for (const Doubles& array : arrays) numbers.push_back(array.span());
  const std::vector<std::uint8_t> invalid = screen(numbers, batch, sizes, program->domains, program->tolerances, rounding);
  Room outputs(call.result(0)), residuals(call.result(3)), margin(call.result(4));
  const std::span<std::int8_t> status = entries<std::int8_t>(call.result(1));
  SolveRequest request{invalid, outputs.span(), {}, status, entries<Index>(call.result(2)), residuals.span(), margin.span()};
  request.infinite = infinite;
  if (tape) request.tape = pairs(call.result(5));
  if (warm) request.start = pairs(call.argument(sizes.size()));
  Settings how = settings(call);
  for (const double r : rounding) how.rounding = std::max(how.rounding, r);
  engine->solve(batch, how, request);
  if (call.flag("nan")) {
    const std::size_t width = engine->problem().R.pattern.rows();
    for (std::size_t b = 0; b < status.size(); ++b)
      if (status[b] > static_cast<std::int8_t>(Status::almost_solved))
        std::fill_n(request.outputs.begin() + b * width, width, std::numeric_limits<double>::quiet_NaN());
  }
  outputs.hand_over();
  residuals.hand_over();
  margin.hand_over();
}

// The operands that every derivative starts with.
struct Linearization {
  std::shared_ptr<const Engine> engine;
  const std::vector<Index>& sizes;
  std::vector<Doubles> arrays;
  std::span<const double> tape;
  BatchView batch;
  bool directions;
  std::size_t rest;  // index of the first operand after these

  explicit Linearization(const Call& call)
      : engine(find(call.integer("key")).first),
        sizes(engine->problem().parameter_sizes),
        arrays(parameters(call, sizes.size())),
        directions(call.flag("directions")),
        rest(sizes.size() + 1) {
    const Buffer points = call.argument(sizes.size());
    Shape axes = shape(points);
    axes.pop_back();
    tape = pairs(points);
    batch = view(arrays, axes, sizes);
  }

  Shape outer(std::int64_t K) const {
    Shape s = batch.shape;
    s.insert(s.begin(), K);
    return s;
  }
};

std::int64_t leading(const Buffer& buffer, bool directions) { return directions ? buffer.dimensions()[0] : 1; }

int threads(const Call& call) { return call.has("threads") ? static_cast<int>(call.number("threads")) : 0; }

// Tangents of the parameters that the attribute `name` marks, the operands from `first` on; `shape` is that of the directions and
// the batch. What was converted lives in `owned`.
BatchView tangents(const Linearization& at, const Call& call, std::size_t first, const Shape& shape, std::vector<Doubles>& owned) {
  const auto given = call.integers("given");
  BatchView batch{shape, {}};
  owned.reserve(at.sizes.size());
  for (std::size_t i = 0; i < at.sizes.size(); ++i) {
    batch.parameters.emplace_back();
    if (!given[i]) continue;
    owned.emplace_back(call.argument(first + owned.size()));
    batch.parameters[i] = view(owned.back(), shape, at.sizes[i], at.directions);
  }
  return batch;
}

// Results of a VJP or HVP: the wanted gradients, then the flags.
struct Pull {
  std::vector<Room> rooms;
  VjpRequest request;

  Pull(const Linearization& at, const Call& call, std::int64_t directions, std::span<const double> outputs)
      : request{at.tape, directions, outputs, {}, {}} {
    const auto wanted = call.integers("wanted");
    rooms.reserve(at.sizes.size());
    for (std::size_t i = 0; i < at.sizes.size(); ++i) {
      request.gradients.emplace_back();
      if (!wanted[i]) continue;
      rooms.emplace_back(call.result(rooms.size()));
      request.gradients[i] = rooms.back().span();
    }
    request.degenerate = entries<std::uint8_t>(call.result(rooms.size()));
  }
  void hand_over() const {
    for (const Room& room : rooms) room.hand_over();
  }
};

void jvp(const Call& call) {
  const Linearization at(call);
  Room outputs(call.result(0));
  std::vector<Doubles> owned;
  std::vector<std::uint8_t> degenerate(at.batch.size());
  const Shape shape = at.outer(leading(call.result(0), at.directions));
  at.engine->jvp(at.batch, {at.tape, tangents(at, call, at.rest, shape, owned), outputs.span(), degenerate}, threads(call));
  outputs.hand_over();
}

void vjp(const Call& call) {
  const Linearization at(call);
  const Buffer operand = call.argument(at.rest);
  const Doubles outputs(operand);
  const Pull pull(at, call, leading(operand, at.directions), outputs.span());
  at.engine->vjp(at.batch, pull.request, threads(call));
  pull.hand_over();
}

void hvp(const Call& call) {
  const Linearization at(call);
  const Buffer operand = call.argument(at.rest);
  const Doubles outputs(operand);
  std::int64_t K = leading(operand, at.directions);
  for (std::size_t i = at.rest + 1; i < call.arguments(); ++i) K = std::max(K, leading(call.argument(i), at.directions));
  std::vector<double> repeated;  // one cotangent for all directions
  std::span<const double> cotangents = outputs.span();
  if (at.directions && operand.dimensions()[0] != K) {
    for (std::int64_t k = 0; k < K; ++k) repeated.insert(repeated.end(), cotangents.begin(), cotangents.end());
    cotangents = repeated;
  }
  std::vector<Doubles> owned;
  const Pull pull(at, call, K, cotangents);
  at.engine->hvp(at.batch, {pull.request, tangents(at, call, at.rest + 1, at.outer(K), owned)}, threads(call));
  pull.hand_over();
}

}  // namespace

void publish(std::int64_t key, const std::shared_ptr<const Engine>& engine, std::vector<Domain> domains, Tolerances tolerances) {
  const std::lock_guard<std::mutex> lock(programs_mutex);
  Program& program = programs()[key];
  if (program.domains.empty()) program.domains = std::move(domains);
  program.tolerances = tolerances;
  std::erase_if(program.engines, [&](const auto& candidate) { return candidate.expired() || candidate.lock() == engine; });
  program.engines.push_back(engine);
}

nanobind::dict xla_handlers() {
  nanobind::dict handlers;
  handlers["cvxpylayers_solve"] = nanobind::capsule(reinterpret_cast<void*>(&xla::handler<solve>));
  handlers["cvxpylayers_jvp"] = nanobind::capsule(reinterpret_cast<void*>(&xla::handler<jvp>));
  handlers["cvxpylayers_vjp"] = nanobind::capsule(reinterpret_cast<void*>(&xla::handler<vjp>));
  handlers["cvxpylayers_hvp"] = nanobind::capsule(reinterpret_cast<void*>(&xla::handler<hvp>));
  return handlers;
}

}  // namespace cvxl
