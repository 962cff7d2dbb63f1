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
                                         lane_width)) {}

  // Returns the worst status of all instances, -1 if there are none.
  int solve(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape, Settings settings,
            const std::vector<double>& rounding, const std::optional<Array<const bool>>& invalid, bool infinite,
            const std::optional<Array<const double>>& start, const Array<double>& outputs, const std::optional<Array<double>>& tape,
            const Array<std::int8_t>& status, const Array<Index>& iterations, const Array<double>& residuals,
            const Array<double>& margin) const {
    const BatchView batch = view(parameters, shape, sizes());
    const auto B = static_cast<std::size_t>(batch.size());
    SolveRequest request{{},
                         {outputs.data(), outputs.size()},
                         span(tape),
                         {status.data(), status.size()},
                         {iterations.data(), iterations.size()},
                         {residuals.data(), residuals.size()},
                         {margin.data(), margin.size()},
                         span(start),
                         infinite};
    if (invalid) request.invalid = {reinterpret_cast<const std::uint8_t*>(invalid->data()), invalid->size()};
    check(request.invalid, B, true, "invalid must have one entry per instance");
    check(request.outputs, B * outputs_per_instance(), false, "outputs must be (B, outputs)");
    check(request.tape, B * point(), true, "a tape must be (B, n + 2 m)");
    check(request.start, B * point(), true, "start must be (B, n + 2 m)");
    check(request.status, B, false, "status must be (B,)");
    check(request.iterations, B, false, "iterations must be (B,)");
    check(request.residuals, 4 * B, false, "residuals must be (B, 4)");
    check(request.margin, B, false, "margin must be (B,)");
    for (const double r : rounding) settings.rounding = std::max(settings.rounding, r);
    run([&] { return engine_->solve(batch, settings, request, interrupted); });
    return B ? *std::max_element(request.status.begin(), request.status.end()) : -1;
  }

  void vjp(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape,
           const Array<const double>& tape, std::int64_t directions, const Array<const double>& outputs,
           const std::vector<std::optional<Array<double>>>& gradients, const Array<bool>& degenerate, int threads) const {
    const BatchView batch = view(parameters, shape, sizes());
    const VjpRequest request = pull(points(tape, batch), directions, outputs, gradients, degenerate);
    run([&] { return engine_->vjp(batch, request, threads, interrupted); });
  }

  void jvp(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape,
           const Array<const double>& tape, std::int64_t directions, const std::vector<std::optional<Parameter>>& tangents,
           const Array<double>& outputs, const Array<bool>& degenerate, int threads) const {
    const BatchView batch = view(parameters, shape, sizes());
    const auto B = static_cast<std::size_t>(batch.size());
    JvpRequest request{points(tape, batch),
                       view(tangents, outer(directions, shape), sizes()),
                       {outputs.data(), outputs.size()},
                       {reinterpret_cast<std::uint8_t*>(degenerate.data()), degenerate.size()}};
    check(request.outputs, static_cast<std::size_t>(directions) * B * outputs_per_instance(), false,
          "outputs must be (K, B, outputs)");
    check(request.degenerate, B, false, "degenerate must be (B,)");
    run([&] { return engine_->jvp(batch, request, threads, interrupted); });
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

  void hvp(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape,
           const Array<const double>& tape, std::int64_t directions, const Array<const double>& outputs,
           const std::vector<std::optional<Parameter>>& tangents, const std::vector<std::optional<Array<double>>>& gradients,
           const Array<bool>& degenerate, int threads) const {
    const BatchView batch = view(parameters, shape, sizes());
    const HvpRequest request{pull(points(tape, batch), directions, outputs, gradients, degenerate),
                             view(tangents, outer(directions, shape), sizes())};
    run([&] { return engine_->hvp(batch, request, threads, interrupted); });
  }

  void centre(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape,
              const Array<double>& tape, double smoothing, int threads) const {
    const BatchView batch = view(parameters, shape, sizes());
    run([&, at = points(tape, batch)] { return engine_->centre(batch, at, smoothing, threads, interrupted); });
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

  static std::vector<std::int64_t> outer(std::int64_t directions, std::vector<std::int64_t> shape) {
    shape.insert(shape.begin(), directions);
    return shape;
  }

  VjpRequest pull(std::span<const double> tape, std::int64_t directions, const Array<const double>& outputs,
                  const std::vector<std::optional<Array<double>>>& gradients, const Array<bool>& degenerate) const {
    const std::size_t K = static_cast<std::size_t>(directions), B = tape.size() / point();
    VjpRequest request{tape,
                       directions,
                       {outputs.data(), outputs.size()},
                       {},
                       {reinterpret_cast<std::uint8_t*>(degenerate.data()), degenerate.size()}};
    check(request.outputs, K * B * outputs_per_instance(), false, "outputs must be (K, B, outputs)");
    check(request.degenerate, B, false, "degenerate must be (B,)");
    if (gradients.size() != sizes().size()) throw std::invalid_argument("one gradient (or None) per parameter is needed");
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const std::span<double> g = span(gradients[i]);
      const auto size = static_cast<std::size_t>(sizes()[i]);
      if (g.size() != K * size) check(g, K * B * size, true, "a gradient must be (K, B, size) or (K, size)");
      request.gradients.push_back(g);
    }
    return request;
  }

  // Numbers of a point (x, z, s).
  std::size_t point() const {
    return static_cast<std::size_t>(engine_->problem().structure.n) + 2 * static_cast<std::size_t>(engine_->problem().structure.m);
  }

  template <class T>
  std::span<T> points(const Array<T>& tape, const BatchView& batch) const {
    const std::span<T> all(tape.data(), tape.size());
    check(all, static_cast<std::size_t>(batch.size()) * point(), false, "a tape must be (B, n + 2 m)");
    return all;
  }

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
};

}  // namespace cvxl::bindings
