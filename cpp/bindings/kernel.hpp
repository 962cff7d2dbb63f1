#pragma once
// One compiled problem as Python sees it: arguments are checked, the GIL is released, Ctrl-C is noticed. No decisions are taken
// here.

#include <algorithm>
#include <memory>

#include "options.hpp"
#include "views.hpp"
#include "xla_ffi.hpp"

namespace cvxl::bindings {

// Python sees signals only when asked, and only with the GIL.
inline bool interrupted() {
  const nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

template <class F>
void run(F&& call) {
  bool completed;
  {
    const nb::gil_scoped_release release;
    completed = call();
  }
  if (!completed) throw nb::python_error();
}

inline Settings settings(const nb::dict& options) {
  Settings settings;
  each_option(settings, [&](const char* name, auto& value) {
    if (options.contains(name)) value = nb::cast<std::decay_t<decltype(value)>>(options[name]);
  });
  return settings;
}

class Kernel {
 public:
  // (kind, order, exponent) of a block; compressed rows, indptr and indices; the same with the entries of a constant matrix.
  using ConeTuple = std::tuple<int, Index, double>;
  using PatternTuple = std::tuple<Vector<Index>, Vector<Index>>;
  using MapTuple = std::tuple<Vector<Index>, Vector<Index>, Vector<double>>;

  Kernel(Index n, Index m, Index zero, const std::vector<ConeTuple>& cones, const PatternTuple& P, const PatternTuple& A,
         const MapTuple& M, const MapTuple& R, std::vector<Index> parameter_sizes, bool check_convexity, double objective_sign,
         bool smoothed, int lane_width)
      : engine_(std::make_shared<Engine>(Problem{{n, m, zero, pattern(P), pattern(A), blocks(cones)},
                                                 map(M),
                                                 map(R),
                                                 std::move(parameter_sizes),
                                                 check_convexity,
                                                 objective_sign,
                                                 smoothed},
                                         lane_width)) {
    for (const Index size : sizes()) flat_.push_back({size});
  }

  // Returns the outputs (B, outputs) and, if it is wanted, the tape (B, n + 2 m), as arrays (*batch, …) of the library of the
  // parameters if that is another than NumPy; the rest; and the worst status of all instances, -1 if there are none.
  std::tuple<nb::object, nb::object, Facts, int> solve(nb::handle parameters, const Shape& shape, Settings settings,
                                                       const std::vector<double>& rounding,
                                                       const std::optional<Array<const bool>>& invalid, bool infinite,
                                                       const std::optional<Array<const double>>& start, bool tape) const {
    const Given given(*this, parameters, shape);
    const std::size_t B = given.size();
    auto [outputs, numbers] = given.rows(outputs_per_instance());
    auto [points, room] = tape ? given.rows(point()) : std::pair<nb::object, double*>{nb::none(), nullptr};
    Facts facts(B);
    SolveRequest request{{},
                         {numbers, B * outputs_per_instance()},
                         {room, tape ? B * point() : 0},
                         facts.status(),
                         facts.iterations(),
                         facts.residuals(),
                         facts.margin(),
                         span(start),
                         infinite};
    if (invalid) request.invalid = {reinterpret_cast<const std::uint8_t*>(invalid->data()), invalid->size()};
    check(request.invalid, B, true, "invalid must have one entry per instance");
    check(request.start, B * point(), true, "start must be (B, n + 2 m)");
    for (const double r : rounding) settings.rounding = std::max(settings.rounding, r);
    run([&] { return engine_->solve(given.batch, settings, request, interrupted); });
    return {outputs, points, std::move(facts), B ? *std::ranges::max_element(request.status) : -1};
  }

  // Returns one gradient per parameter, None where not wanted; the positions of those that are to be summed along some axes, which
  // are arrays (*K, B, size) of NumPy; and the flags (B,). The others are like their parameters.
  std::tuple<nb::list, nb::list, nb::object> vjp(nb::handle parameters, const Shape& shape, nb::handle tape,
                                                 std::optional<std::int64_t> directions, nb::handle outputs, nb::handle wanted,
                                                 int threads) const {
    const Given given(*this, parameters, shape);
    Pull pull(given, tape, directions, outputs, wanted);
    run([&] { return engine_->vjp(given.batch, pull.request, threads, interrupted); });
    return pull.found();
  }

  void jvp(nb::handle parameters, const Shape& shape, nb::handle tape, std::int64_t directions, nb::handle tangents,
           const Array<double>& outputs, const Array<bool>& degenerate, int threads) const {
    const Given given(*this, parameters, shape), along(*this, tangents, outer(directions, shape));
    std::vector<double> room;
    JvpRequest request{given.points(tape, room),
                       along.batch,
                       {outputs.data(), outputs.size()},
                       {reinterpret_cast<std::uint8_t*>(degenerate.data()), degenerate.size()}};
    check(request.outputs, static_cast<std::size_t>(directions) * given.size() * outputs_per_instance(), false,
          "outputs must be (K, B, outputs)");
    check(request.degenerate, given.size(), false, "degenerate must be (B,)");
    run([&] { return engine_->jvp(given.batch, request, threads, interrupted); });
  }

  // Lets XLA programs that carry `key` find this kernel while it lives; `domains` has the fields of Domain a parameter,
  // `tolerances` those of Tolerances.
  using DomainFields = std::tuple<int, int, bool, bool, bool, Index, std::vector<Index>, std::vector<double>, std::vector<double>>;
  void publish(std::int64_t key, const std::vector<DomainFields>& domains,
               const std::tuple<double, double, double, double>& tolerances) const {
    std::vector<Domain> copies;
    for (const auto& fields : domains) copies.push_back(std::make_from_tuple<Domain>(fields));
    cvxl::publish(key, engine_, std::move(copies), std::make_from_tuple<Tolerances>(tolerances));
  }

  std::tuple<nb::list, nb::list, nb::object> hvp(nb::handle parameters, const Shape& shape, nb::handle tape,
                                                 std::optional<std::int64_t> directions, nb::handle outputs, nb::handle tangents,
                                                 nb::handle wanted, int threads) const {
    const Given given(*this, parameters, shape), along(*this, tangents, outer(directions.value_or(1), shape));
    Pull pull(given, tape, directions, outputs, wanted);
    run([&] { return engine_->hvp(given.batch, {pull.request, along.batch}, threads, interrupted); });
    return pull.found();
  }

  void centre(nb::handle parameters, const Shape& shape, const Array<double>& tape, double smoothing, int threads) const {
    const Given given(*this, parameters, shape);
    const std::span<double> points(tape.data(), tape.size());
    check(points, given.size() * point(), false, "a tape must be (B, n + 2 m)");
    run([&] { return engine_->centre(given.batch, points, smoothing, threads, interrupted); });
  }

  const Problem& problem() const { return engine_->problem(); }

  nb::dict describe() const {
    const Description d = engine_->describe();
    nb::dict facts;
    facts["isa"] = d.isa;
    facts["ordering"] = d.ordering;
    facts["lane_width"] = d.lane_width;
    facts["kkt_dimension"] = d.kkt_dimension;
    facts["condensed_rows"] = d.condensed_rows;
    facts["supernodes"] = d.supernodes;
    facts["factor_nonzeros"] = d.factor_nonzeros;
    facts["factor_flops"] = d.factor_flops;
    facts["arena_bytes"] = d.arena_bytes;
    return facts;
  }

 private:
  const std::vector<Index>& sizes() const { return engine_->problem().parameter_sizes; }
  std::size_t outputs_per_instance() const { return static_cast<std::size_t>(engine_->problem().R.pattern.rows()); }

  static Shape outer(std::int64_t directions, Shape shape) {
    shape.insert(shape.begin(), directions);
    return shape;
  }

  // Numbers of a point (x, z, s).
  std::size_t point() const {
    return static_cast<std::size_t>(engine_->problem().structure.n) + 2 * static_cast<std::size_t>(engine_->problem().structure.m);
  }

  // The parameters of a call, or tangents: as `read` has found them, or arrays (*batch_i, size).
  struct Given {
    static constexpr auto misfit = "one array of doubles (*batch, size) per parameter is needed, with a contiguous last axis";
    const Kernel& kernel;
    std::optional<Arrays> own;
    const Arrays& arrays;
    const BatchView batch;

    Given(const Kernel& k, nb::handle given, const Shape& shape)
        : kernel(k),
          own(nb::isinstance<Arrays>(given) ? std::nullopt : Arrays::read(given, k.flat_)),
          arrays(own                             ? *own
                 : nb::isinstance<Arrays>(given) ? *nb::inst_ptr<Arrays>(given)
                                                 : throw std::invalid_argument(misfit)),
          batch(arrays.view(shape)) {}

    std::size_t size() const { return static_cast<std::size_t>(batch.size()); }

    // A new array with a row for every instance.
    std::pair<nb::object, double*> rows(std::size_t width) const {
      Shape shape = arrays.exchange() ? batch.shape : Shape{batch.size()};
      shape.push_back(static_cast<std::int64_t>(width));
      return make(arrays.exchange(), shape);
    }

    std::span<const double> points(nb::handle tape, std::vector<double>& room) const {
      return numbers(tape, size() * kernel.point(), room, "a tape must be (B, n + 2 m)");
    }
  };

  static std::span<const double> numbers(nb::handle array, std::size_t size, std::vector<double>& room, const char* message) {
    const std::optional<Doubles> at = Doubles::of(array);
    const std::span<const double> found = at ? at->entries(room) : std::span<const double>();
    if (!at || found.size() != size) throw std::invalid_argument(message);
    return found;
  }

  // What a VJP or HVP reads and writes beside its batch.
  struct Pull {
    std::vector<double> tape_room, output_room;
    nb::list gradients, apart;
    nb::object degenerate;
    VjpRequest request;

    Pull(const Given& given, nb::handle tape, std::optional<std::int64_t> directions, nb::handle outputs, nb::handle wanted) {
      const std::vector<Index>& sizes = given.kernel.sizes();
      const std::int64_t K = directions.value_or(1), B = given.batch.size();
      const std::size_t rows = static_cast<std::size_t>(K * B) * given.kernel.outputs_per_instance();
      const Shape lead(directions ? 1 : 0, K);
      auto [flags, marks] = make_flags(B);
      degenerate = flags;
      request = {
          given.points(tape, tape_room), K, numbers(outputs, rows, output_room, "outputs must be (K, B, outputs)"), {}, marks};
      for (const nb::handle want : nb::borrow<nb::object>(wanted)) {
        const std::size_t i = request.gradients.size();
        if (i == sizes.size()) break;
        request.gradients.emplace_back();
        if (!PyObject_IsTrue(want.ptr())) {
          gradients.append(nb::none());
          continue;
        }
        // The kernel writes one row per instance, or the sum of all.
        const auto axes = given.arrays.axes(i);
        const bool each = std::ranges::equal(axes, given.batch.shape), summed = !each && B && product(axes) == 1;
        Shape shape = lead;
        if (each || summed) {
          const Shape own = given.arrays.like(i);
          shape.insert(shape.end(), own.begin(), own.end());
        } else {
          shape.insert(shape.end(), {B, sizes[i]});
          apart.append(i);
        }
        auto [gradient, room] = make(each || summed ? given.arrays.exchange() : nullptr, shape);
        gradients.append(gradient);
        request.gradients[i] = {room, static_cast<std::size_t>(product(shape))};
      }
      if (request.gradients.size() != sizes.size()) throw std::invalid_argument("wanted must have one entry per parameter");
    }

    std::tuple<nb::list, nb::list, nb::object> found() const { return {gradients, apart, degenerate}; }
  };

  static Pattern pattern(const PatternTuple& arrays) { return {copy(std::get<0>(arrays)), copy(std::get<1>(arrays))}; }
  static SparseMap map(const MapTuple& arrays) {
    return {{copy(std::get<0>(arrays)), copy(std::get<1>(arrays))}, copy(std::get<2>(arrays))};
  }

  static std::vector<Cone> blocks(const std::vector<ConeTuple>& cones) {
    std::vector<Cone> result;
    for (const auto& [kind, order, alpha] : cones) {
      if (kind < 0 || kind >= Cone::kinds) throw std::invalid_argument("no such kind of cone");
      result.push_back({static_cast<Cone::Kind>(kind), order, alpha});
    }
    return result;
  }

  std::shared_ptr<const Engine> engine_;  // XLA programs look for it
  std::vector<Shape> flat_;               // of the parameters
};

}  // namespace cvxl::bindings
