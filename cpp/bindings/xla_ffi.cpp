// XLA custom calls: buffers become spans, single precision becomes double, and back. No Python, no GIL.
//
// Operands, with parameters θ_i (*batch_i, size_i) in float32 or float64, and tapes of points (*batch, 2·(n + 2m)), doubles as pairs
// of uint32, which exist whether or not JAX's x64 mode is on:
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

#include "xla_abi.hpp"

namespace cvxl {
namespace {

using xla::Buffer, xla::Call;

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

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

using Shape = std::vector<std::int64_t>;

Shape shape(const Buffer& b) { return {b.dimensions().begin(), b.dimensions().end()}; }

// An operand as doubles: in place, or converted.
class Doubles {
 public:
  explicit Doubles(const Buffer& buffer) : dims_(shape(buffer)), size_(buffer.size()) {
    if (buffer.type() == xla::Type::float32) {
      const auto* from = static_cast<const float*>(buffer.data());
      copy_.assign(from, from + size_);
      data_ = copy_.data();
    } else {
      require(buffer.type() == xla::Type::float64, "parameters must be float32 or float64");
      data_ = static_cast<const double*>(buffer.data());
    }
  }
  Doubles(Doubles&&) = default;

  const Shape& dims() const { return dims_; }
  std::span<const double> span() const { return {data_, size_}; }

  // Makes entries of at least this size infinite, and says whether there are any.
  bool open(double infinite) {
    const auto beyond = [&](double x) { return std::abs(x) >= infinite; };
    if (std::none_of(data_, data_ + size_, beyond)) return false;
    if (copy_.empty()) copy_.assign(data_, data_ + size_);
    data_ = copy_.data();
    std::replace_if(copy_.begin(), copy_.end(), [&](double x) { return x >= infinite; }, std::numeric_limits<double>::infinity());
    std::replace_if(copy_.begin(), copy_.end(), [&](double x) { return x <= -infinite; }, -std::numeric_limits<double>::infinity());
    return true;
  }

 private:
  Shape dims_;
  std::size_t size_;
  std::vector<double> copy_;
  const double* data_;
};

// A result that is written as doubles and handed over in its own precision.
class Room {
 public:
  explicit Room(const Buffer& buffer) : buffer_(buffer), size_(buffer.size()) {
    if (buffer.type() == xla::Type::float32) copy_.resize(size_);
    else require(buffer.type() == xla::Type::float64, "results must be float32 or float64");
  }
  Room(Room&&) = default;

  std::span<double> span() { return {copy_.empty() ? static_cast<double*>(buffer_.data()) : copy_.data(), size_}; }
  void hand_over() const {
    std::transform(copy_.begin(), copy_.end(), static_cast<float*>(buffer_.data()), [](double v) { return static_cast<float>(v); });
  }

 private:
  Buffer buffer_;
  std::size_t size_;
  std::vector<double> copy_;
};

// A dense array ([K,] *batch_i, size) seen from a batch; axes of length 1 and missing ones are shared.
ParameterView view(const Doubles& array, const Shape& batch, Index size, bool directions) {
  const Shape& dims = array.dims();
  const std::size_t lead = directions ? 1 : 0;
  require(dims.size() > lead && dims.size() <= batch.size() + 1 && dims.back() == size, "a parameter has a wrong shape");
  ParameterView p{array.span().data(), Shape(batch.size(), 0)};
  std::int64_t stride = size;
  for (std::size_t k = dims.size() - 1; k-- > 0;) {
    const std::size_t axis = k < lead ? 0 : batch.size() + 1 - dims.size() + k;
    require(dims[k] == 1 || dims[k] == batch[axis], "batch axes do not broadcast");
    p.strides[axis] = dims[k] == 1 ? 0 : stride;
    stride *= dims[k];
  }
  return p;
}

BatchView view(const std::vector<Doubles>& arrays, const Shape& batch, const std::vector<Index>& sizes) {
  BatchView b{batch, {}};
  for (std::size_t i = 0; i < arrays.size(); ++i) b.parameters.push_back(view(arrays[i], batch, sizes[i], false));
  return b;
}

std::vector<Doubles> parameters(const Call& call, std::size_t count) {
  std::vector<Doubles> arrays;
  for (std::size_t i = 0; i < count; ++i) arrays.emplace_back(call.argument(i));
  return arrays;
}

template <class T>
std::span<T> entries(const Buffer& b) {
  return {static_cast<T*>(b.data()), b.size()};
}

// Doubles that came as pairs of integers.
std::span<double> pairs(const Buffer& b) { return {static_cast<double*>(b.data()), b.size() / 2}; }

// Whether ±(v + v')/2 has an eigenvalue below -slack times 1 or its Frobenius norm: by a shifted Cholesky factorization, in scratch L.
bool indefinite(const double* v, const Domain& domain, double slack, std::vector<double>& L) {
  const Index k = domain.side;
  L.resize(k * k);
  double squares = 0.0;
  for (Index i = 0; i < k; ++i)
    for (Index j = 0; j <= i; ++j) {
      L[i * k + j] = 0.5 * domain.psd * v[i * k + j] + 0.5 * domain.psd * v[j * k + i];
      squares += (i == j ? 1.0 : 2.0) * L[i * k + j] * L[i * k + j];
    }
  const double shift = slack * std::max(1.0, std::sqrt(squares));
  for (Index j = 0; j < k; ++j) {
    if (domain.quadratic) {  // engines judge the whole
      if (L[j * k + j] < -shift) return true;
      continue;
    }
    for (Index i = j; i < k; ++i) {
      double sum = L[i * k + j] + (i == j ? shift : 0.0);
      for (Index c = 0; c < j; ++c) sum -= L[i * k + c] * L[j * k + c];
      if (i == j && !(sum > 0.0)) return true;
      L[i * k + j] = i == j ? std::sqrt(sum) : sum / L[j * k + j];
    }
  }
  return false;
}

// Folds `step` over the entries from 0.0, and `join` over the results of eight interleaved parts, which need not wait for each other.
template <class Step, class Join>
double fold(std::span<const double> v, Step step, Join join) {
  constexpr std::size_t parts = 8;
  double part[parts]{};
  std::size_t e = 0;
  for (; e + parts <= v.size(); e += parts)
    for (std::size_t k = 0; k < parts; ++k) part[k] = step(part[k], v[e + k]);
  for (; e < v.size(); ++e) part[0] = step(part[0], v[e]);
  for (std::size_t k = 1; k < parts; ++k) part[0] = join(part[0], part[k]);
  return part[0];
}

bool any_nan(std::span<const double> v) {
  return std::any_of(v.begin(), v.end(), [](double x) { return std::isnan(x); });
}

bool finite(std::span<const double> v) {
  return fold(v, [](double sum, double x) { return sum + (x - x); }, std::plus<double>()) == 0.0;
}

// Mirrors cvxpylayers._layer.inputs.screen, for one instance's entries, which are known to `rounding`.
bool violates(const double* v, Index size, const Domain& domain, const Tolerances& tolerances, double rounding, std::vector<double>& scratch) {
  const std::span<const double> all{v, static_cast<std::size_t>(size)};
  if (domain.unbounded ? any_nan(all) : !finite(all)) return true;
  double least = 0.0, skew = 0.0;
  if (domain.sign)
    least = fold(all, [&](double low, double x) { return std::min(low, domain.sign * x); }, [](double a, double b) { return std::min(a, b); });
  for (std::size_t e = 0; e < domain.low.size(); ++e)
    if (v[e] < domain.low[e]) least = std::min(least, v[e] - domain.low[e]);
  for (std::size_t e = 0; e < domain.high.size(); ++e)
    if (v[e] > domain.high[e]) least = std::min(least, domain.high[e] - v[e]);
  for (const Index e : domain.zeros) least = std::min(least, -std::abs(v[e]));
  for (Index i = 0; i < domain.side; ++i)
    for (Index j = 0; j < i; ++j) skew = std::max(skew, 0.5 * std::abs(v[i * domain.side + j] - v[j * domain.side + i]));
  const double slack = std::max(tolerances.slack, rounding);
  if (least < -slack || skew > 0.0) {
    const double largest =
        fold(all, [](double high, double x) { return std::isinf(x) ? high : std::max(high, std::abs(x)); }, [](double a, double b) { return std::max(a, b); });
    if (least < -slack * std::max(1.0, largest) || skew > tolerances.skew * largest) return true;
  }
  return domain.psd && indefinite(v, domain, std::max(tolerances.definite_slack, rounding), scratch);
}

// Which instances hold NaN or inf, or leave a declared domain; empty where all are fine.
std::vector<std::uint8_t> screen(const std::vector<Doubles>& arrays, const BatchView& batch, const Program& program,
                                 const std::vector<Index>& sizes, std::span<const double> rounding) {
  const std::vector<Domain>& domains = program.domains;
  std::vector<std::uint8_t> invalid;
  std::vector<double> scratch;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const std::span<const double> all = arrays[i].span();
    if (domains[i].whole() && finite(all)) continue;
    const std::int64_t size = sizes[i], rows = size ? static_cast<std::int64_t>(all.size()) / size : 0;
    std::vector<std::uint8_t> bad;
    for (std::int64_t r = 0; r < rows; ++r)
      if (violates(all.data() + r * size, sizes[i], domains[i], program.tolerances, rounding[i], scratch)) {
        bad.resize(rows, 0);
        bad[r] = 1;
      }
    if (bad.empty()) continue;
    invalid.resize(batch.size(), 0);
    for (std::int64_t b = 0; b < batch.size(); ++b) {
      std::int64_t rest = b, offset = 0;
      for (std::size_t k = batch.shape.size(); k-- > 0; rest /= batch.shape[k])
        offset += rest % batch.shape[k] * batch.parameters[i].strides[k];
      invalid[b] |= bad[offset / size];
    }
  }
  return invalid;
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
  const std::vector<std::uint8_t> invalid = screen(arrays, batch, *program, sizes, rounding);
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
  BatchView view{shape, {}};
  owned.reserve(at.sizes.size());
  for (std::size_t i = 0; i < at.sizes.size(); ++i) {
    view.parameters.emplace_back();
    if (!given[i]) continue;
    owned.emplace_back(call.argument(first + owned.size()));
    view.parameters[i] = cvxl::view(owned.back(), shape, at.sizes[i], at.directions);
  }
  return view;
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
