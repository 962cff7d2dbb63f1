// XLA custom calls: buffers become spans, single precision becomes double, and back. No Python, no GIL.
//
// Operands, with parameters θ_i (*batch_i, size_i) in float32 or float64, and tapes x, z, s (*batch, 2·width), doubles as pairs of
// uint32, which exist whether or not JAX's x64 mode is on:
//   solve  θ… [, x, z, s]                 → outputs (*batch, outputs), status, iterations, residuals (*batch, 4), margin [, x, z, s]
//   jvp    θ…, x, z, s, status, tangents… → outputs ([K,] *batch, outputs)
//   vjp    θ…, x, z, s, status, outputs   → gradients ([K,] *batch, size_i) or, summed over the batch, ([K,] size_i) …, degenerate
//   hvp    θ…, x, z, s, status, outputs, tangents…  → as vjp
// A solve may start from the tape of another. Only the tangents marked `given` are passed, only the gradients marked `wanted` are returned. `directions` says that there is an
// axis K: all directions are taken at one factorization.

#include "xla_ffi.hpp"

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

#include "xla/ffi/api/ffi.h"

namespace cvxl {
namespace {

namespace ffi = xla::ffi;

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

Shape shape(const ffi::AnyBuffer& b) { return {b.dimensions().begin(), b.dimensions().end()}; }

// An operand as doubles: in place, or converted.
class Doubles {
 public:
  explicit Doubles(const ffi::AnyBuffer& buffer) : dims_(shape(buffer)), size_(buffer.element_count()) {
    if (buffer.element_type() == ffi::DataType::F32) {
      const float* from = buffer.typed_data<float>();
      copy_.assign(from, from + size_);
      data_ = copy_.data();
    } else {
      require(buffer.element_type() == ffi::DataType::F64, "parameters must be float32 or float64");
      data_ = buffer.typed_data<double>();
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
  explicit Room(const ffi::AnyBuffer& buffer) : buffer_(buffer), size_(buffer.element_count()) {
    if (buffer.element_type() == ffi::DataType::F32) copy_.resize(size_);
    else require(buffer.element_type() == ffi::DataType::F64, "results must be float32 or float64");
  }
  Room(Room&&) = default;

  std::span<double> span() { return {copy_.empty() ? static_cast<double*>(buffer_.untyped_data()) : copy_.data(), size_}; }
  void hand_over() const {
    std::transform(copy_.begin(), copy_.end(), static_cast<float*>(buffer_.untyped_data()), [](double v) { return static_cast<float>(v); });
  }

 private:
  ffi::AnyBuffer buffer_;
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

std::vector<Doubles> parameters(const ffi::RemainingArgs& args, std::size_t count) {
  std::vector<Doubles> arrays;
  for (std::size_t i = 0; i < count; ++i) arrays.emplace_back(args.get<ffi::AnyBuffer>(i).value());
  return arrays;
}

template <class T>
std::span<T> bytes(const ffi::AnyBuffer& b) {
  return {static_cast<T*>(b.untyped_data()), b.size_bytes() / sizeof(T)};
}

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

// Mirrors cvxpylayers._arrays.screen, for one instance's entries, which are known to `rounding`.
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

Settings settings(const ffi::Dictionary& attrs) {
  Settings s;
  const auto read = [&](const char* name, auto& value) {
    if (attrs.contains(name)) value = static_cast<std::decay_t<decltype(value)>>(attrs.get<double>(name).value());
  };
  read("max_iterations", s.max_iterations);
  read("tolerance", s.tolerance);
  read("target", s.target);
  read("infeasibility_tolerance", s.infeasibility_tolerance);
  read("step_fraction", s.step_fraction);
  read("regularization", s.regularization);
  read("smoothing", s.smoothing);
  read("polish", s.polish);
  read("equilibrate", s.equilibrate);
  read("threads", s.threads);
  return s;
}

template <class F>
ffi::Error guarded(F&& call) {
  try {
    call();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, error.what());
  }
}

ffi::Error solve(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Dictionary attrs) {
  return guarded([&] {
    const auto [engine, program] = find(attrs.get<std::int64_t>("key").value());
    const auto& sizes = engine->problem().parameter_sizes;
    const bool warm = args.size() == sizes.size() + 3, tape = rets.size() == 8;
    require((warm || args.size() == sizes.size()) && (tape || rets.size() == 5), "solve: wrong number of operands");
    const auto operand = [&](std::size_t i) { return bytes<const double>(args.get<ffi::AnyBuffer>(sizes.size() + i).value()); };
    const auto result = [&](std::size_t i) { return *rets.get<ffi::AnyBuffer>(i).value(); };
    std::vector<Doubles> arrays = parameters(args, sizes.size());
    bool infinite = false;
    for (std::size_t i = 0; i < arrays.size(); ++i)
      if (program->domains[i].unbounded) infinite |= arrays[i].open(program->tolerances.infinite);
    const BatchView batch = view(arrays, shape(result(1)), sizes);
    const auto rounding = attrs.get<ffi::Span<const double>>("rounding").value();
    require(rounding.size() == sizes.size(), "solve: one rounding per parameter is needed");
    const std::vector<std::uint8_t> invalid = screen(arrays, batch, *program, sizes, {rounding.begin(), rounding.size()});
    Room outputs(result(0)), residuals(result(3)), margin(result(4));
    const std::span<std::int8_t> status = bytes<std::int8_t>(result(1));
    SolveRequest request{invalid, outputs.span(), {}, {}, {}, status, bytes<Index>(result(2)), residuals.span(), margin.span()};
    request.infinite = infinite;
    if (tape) {
      request.x = bytes<double>(result(5));
      request.z = bytes<double>(result(6));
      request.s = bytes<double>(result(7));
    }
    if (warm) {
      request.warm_x = operand(0);
      request.warm_z = operand(1);
      request.warm_s = operand(2);
    }
    Settings how = settings(attrs);
    for (const double r : rounding) how.rounding = std::max(how.rounding, r);
    engine->solve(batch, how, request);
    if (attrs.get<bool>("nan").value()) {
      const std::size_t width = engine->problem().R.pattern.rows();
      for (std::size_t b = 0; b < status.size(); ++b)
        if (status[b] > static_cast<std::int8_t>(Status::almost_solved))
          std::fill_n(request.outputs.begin() + b * width, width, std::numeric_limits<double>::quiet_NaN());
    }
    outputs.hand_over();
    residuals.hand_over();
    margin.hand_over();
  });
}

// The operands that every derivative starts with.
struct Linearization {
  std::shared_ptr<const Engine> engine;
  const std::vector<Index>& sizes;
  std::vector<Doubles> arrays;
  TapeView tape;
  BatchView batch;
  bool directions;
  std::size_t rest;  // index of the first operand after these

  Linearization(const ffi::RemainingArgs& args, const ffi::Dictionary& attrs)
      : engine(find(attrs.get<std::int64_t>("key").value()).first),
        sizes(engine->problem().parameter_sizes),
        arrays(parameters(args, sizes.size())),
        directions(attrs.get<bool>("directions").value()),
        rest(sizes.size() + 4) {
    const auto operand = [&](std::size_t i) { return args.get<ffi::AnyBuffer>(sizes.size() + i).value(); };
    tape = {bytes<const double>(operand(0)), bytes<const double>(operand(1)), bytes<const double>(operand(2)),
            bytes<const std::int8_t>(operand(3))};
    batch = view(arrays, shape(operand(3)), sizes);
  }

  Shape outer(std::int64_t K) const {
    Shape s = batch.shape;
    s.insert(s.begin(), K);
    return s;
  }
};

std::int64_t leading(const ffi::AnyBuffer& buffer, bool directions) { return directions ? buffer.dimensions()[0] : 1; }

int threads(const ffi::Dictionary& attrs) { return attrs.contains("threads") ? static_cast<int>(attrs.get<double>("threads").value()) : 0; }

// Tangents of the parameters that the attribute `name` marks, the operands from `first` on; `shape` is that of the directions and
// the batch. What was converted lives in `owned`.
BatchView tangents(const Linearization& at, const ffi::RemainingArgs& args, const ffi::Dictionary& attrs, std::size_t first,
                   const Shape& shape, std::vector<Doubles>& owned) {
  const auto given = attrs.get<ffi::Span<const std::int64_t>>("given").value();
  BatchView view{shape, {}};
  owned.reserve(at.sizes.size());
  for (std::size_t i = 0; i < at.sizes.size(); ++i) {
    view.parameters.emplace_back();
    if (!given[i]) continue;
    owned.emplace_back(args.get<ffi::AnyBuffer>(first + owned.size()).value());
    view.parameters[i] = cvxl::view(owned.back(), shape, at.sizes[i], at.directions);
  }
  return view;
}

// Results of a VJP or HVP: the wanted gradients, then the flags.
struct Pull {
  std::vector<Room> rooms;
  VjpRequest request;

  Pull(const Linearization& at, const ffi::RemainingRets& rets, const ffi::Dictionary& attrs, std::int64_t directions,
       std::span<const double> outputs)
      : request{at.tape, directions, outputs, {}, {}} {
    const auto wanted = attrs.get<ffi::Span<const std::int64_t>>("wanted").value();
    rooms.reserve(at.sizes.size());
    for (std::size_t i = 0; i < at.sizes.size(); ++i) {
      request.gradients.emplace_back();
      if (!wanted[i]) continue;
      rooms.emplace_back(*rets.get<ffi::AnyBuffer>(rooms.size()).value());
      request.gradients[i] = rooms.back().span();
    }
    request.degenerate = bytes<std::uint8_t>(*rets.get<ffi::AnyBuffer>(rooms.size()).value());
  }
  void hand_over() const {
    for (const Room& room : rooms) room.hand_over();
  }
};

ffi::Error jvp(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Dictionary attrs) {
  return guarded([&] {
    const Linearization at(args, attrs);
    const ffi::AnyBuffer result = *rets.get<ffi::AnyBuffer>(0).value();
    Room outputs(result);
    std::vector<Doubles> owned;
    std::vector<std::uint8_t> degenerate(at.batch.size());
    const Shape shape = at.outer(leading(result, at.directions));
    at.engine->jvp(at.batch, {at.tape, tangents(at, args, attrs, at.rest, shape, owned), outputs.span(), degenerate}, threads(attrs));
    outputs.hand_over();
  });
}

ffi::Error vjp(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Dictionary attrs) {
  return guarded([&] {
    const Linearization at(args, attrs);
    const ffi::AnyBuffer operand = args.get<ffi::AnyBuffer>(at.rest).value();
    const Doubles outputs(operand);
    const Pull pull(at, rets, attrs, leading(operand, at.directions), outputs.span());
    at.engine->vjp(at.batch, pull.request, threads(attrs));
    pull.hand_over();
  });
}

ffi::Error hvp(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Dictionary attrs) {
  return guarded([&] {
    const Linearization at(args, attrs);
    const ffi::AnyBuffer operand = args.get<ffi::AnyBuffer>(at.rest).value();
    const Doubles outputs(operand);
    std::int64_t K = leading(operand, at.directions);
    for (std::size_t i = at.rest + 1; i < args.size(); ++i) K = std::max(K, leading(args.get<ffi::AnyBuffer>(i).value(), at.directions));
    std::vector<double> repeated;  // one cotangent for all directions
    std::span<const double> cotangents = outputs.span();
    if (at.directions && operand.dimensions()[0] != K) {
      for (std::int64_t k = 0; k < K; ++k) repeated.insert(repeated.end(), cotangents.begin(), cotangents.end());
      cotangents = repeated;
    }
    std::vector<Doubles> owned;
    const Pull pull(at, rets, attrs, K, cotangents);
    at.engine->hvp(at.batch, {pull.request, tangents(at, args, attrs, at.rest + 1, at.outer(K), owned)}, threads(attrs));
    pull.hand_over();
  });
}

const auto binding = [] { return ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attrs(); };
XLA_FFI_DEFINE_HANDLER(solve_handler, solve, binding());
XLA_FFI_DEFINE_HANDLER(jvp_handler, jvp, binding());
XLA_FFI_DEFINE_HANDLER(vjp_handler, vjp, binding());
XLA_FFI_DEFINE_HANDLER(hvp_handler, hvp, binding());

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
  handlers["cvxpylayers_solve"] = nanobind::capsule(reinterpret_cast<void*>(solve_handler));
  handlers["cvxpylayers_jvp"] = nanobind::capsule(reinterpret_cast<void*>(jvp_handler));
  handlers["cvxpylayers_vjp"] = nanobind::capsule(reinterpret_cast<void*>(vjp_handler));
  handlers["cvxpylayers_hvp"] = nanobind::capsule(reinterpret_cast<void*>(hvp_handler));
  return handlers;
}

}  // namespace cvxl
