// The extension module: arrays become spans, the GIL is released, Ctrl-C is noticed. No decisions are taken here.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "cvxl/engine.hpp"
#include "cvxl/threads.hpp"
#include "options.hpp"
#include "xla_ffi.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Parameter = nb::ndarray<const double, nb::numpy, nb::device::cpu>;
template <class T>
using Array = nb::ndarray<T, nb::numpy, nb::c_contig, nb::device::cpu>;
template <class T>
using Vector = nb::ndarray<const T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
std::span<T> span(const std::optional<Array<T>>& array) {
  return array ? std::span<T>(array->data(), array->size()) : std::span<T>();
}

template <class T>
std::vector<T> copy(const Vector<T>& v) {
  return {v.data(), v.data() + v.size()};
}

// Views of arrays (*batch_i, size); batch axes are aligned on the right, as NumPy broadcasts.
cvxl::BatchView view(const std::vector<std::optional<Parameter>>& arrays, const std::vector<std::int64_t>& shape,
                     const std::vector<cvxl::Index>& sizes) {
  cvxl::BatchView batch{shape, {}};
  if (arrays.size() != sizes.size()) throw std::invalid_argument("one array per parameter is needed");
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    cvxl::ParameterView p;
    if (arrays[i]) {
      const Parameter& a = *arrays[i];
      const std::size_t axes = a.ndim() - 1;
      if (a.ndim() == 0 || axes > shape.size() || a.shape(axes) != static_cast<std::size_t>(sizes[i]) ||
          (sizes[i] > 1 && a.stride(axes) != 1))
        throw std::invalid_argument("a parameter must have shape (*batch, size) with a contiguous last axis");
      p.data = a.data();
      p.strides.assign(shape.size(), 0);
      for (std::size_t k = 0; k < axes; ++k) {
        const std::size_t axis = shape.size() - axes + k;
        if (a.shape(k) == static_cast<std::size_t>(shape[axis]))
          p.strides[axis] = a.shape(k) == 1 ? 0 : a.stride(k);
        else if (a.shape(k) != 1)
          throw std::invalid_argument("a parameter's batch axes do not broadcast to the batch shape");
      }
    }
    batch.parameters.push_back(std::move(p));
  }
  return batch;
}

template <class T>
void check(std::span<T> s, std::size_t size, bool optional, const char* message) {
  if (s.size() != size && !(optional && s.empty())) throw std::invalid_argument(message);
}

// Python sees signals only when asked, and only with the GIL.
bool interrupted() {
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

cvxl::Settings settings(const nb::dict& options) {
  cvxl::Settings settings;
  cvxl::each_option(settings, [&](const char* name, auto& value) {
    if (options.contains(name)) value = nb::cast<std::decay_t<decltype(value)>>(options[name]);
  });
  return settings;
}

class Kernel {
 public:
  // `cones`: (kind, order, exponent) of each block.
  using ConeTuple = std::tuple<int, cvxl::Index, double>;

  Kernel(cvxl::Index n, cvxl::Index m, cvxl::Index zero, const std::vector<ConeTuple>& cones, std::vector<cvxl::Index> parameter_sizes, const Vector<cvxl::Index>& P_indptr,
         const Vector<cvxl::Index>& P_indices, const Vector<cvxl::Index>& A_indptr, const Vector<cvxl::Index>& A_indices,
         const Vector<cvxl::Index>& M_indptr, const Vector<cvxl::Index>& M_indices, const Vector<double>& M_data,
         const Vector<cvxl::Index>& R_indptr, const Vector<cvxl::Index>& R_indices, const Vector<double>& R_data, bool check_convexity,
         double objective_sign, bool smoothed, int lane_width)
      : engine_(std::make_shared<cvxl::Engine>(
            cvxl::Problem{{n, m, zero, {copy(P_indptr), copy(P_indices)}, {copy(A_indptr), copy(A_indices)}, blocks(cones)},
                          {{copy(M_indptr), copy(M_indices)}, copy(M_data)},
                          {{copy(R_indptr), copy(R_indices)}, copy(R_data)},
                          std::move(parameter_sizes),
                          check_convexity,
                          objective_sign,
                          smoothed},
            lane_width)) {}

  // Returns the worst status of all instances, -1 if there are none.
  int solve(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape, cvxl::Settings settings,
            double rounding, const std::optional<Array<const bool>>& invalid, bool infinite, const std::optional<Array<const double>>& start,
            const Array<double>& outputs, const std::optional<Array<double>>& tape, const Array<std::int8_t>& status,
            const Array<cvxl::Index>& iterations, const Array<double>& residuals, const Array<double>& margin) const {
    const cvxl::BatchView batch = view(parameters, shape, sizes());
    const auto B = static_cast<std::size_t>(batch.size());
    cvxl::SolveRequest request{{},
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
    settings.rounding = rounding;
    run([&] { return engine_->solve(batch, settings, request, interrupted); });
    return B ? *std::max_element(request.status.begin(), request.status.end()) : -1;
  }

  void vjp(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape, const Array<const double>& tape,
           std::int64_t directions, const Array<const double>& outputs, const std::vector<std::optional<Array<double>>>& gradients,
           const Array<bool>& degenerate, int threads) const {
    const cvxl::BatchView batch = view(parameters, shape, sizes());
    const cvxl::VjpRequest request = pull(points(tape, batch), directions, outputs, gradients, degenerate);
    run([&] { return engine_->vjp(batch, request, threads, interrupted); });
  }

  void jvp(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape, const Array<const double>& tape,
           std::int64_t directions, const std::vector<std::optional<Parameter>>& tangents, const Array<double>& outputs,
           const Array<bool>& degenerate, int threads) const {
    const cvxl::BatchView batch = view(parameters, shape, sizes());
    const auto B = static_cast<std::size_t>(batch.size());
    cvxl::JvpRequest request{points(tape, batch),
                             view(tangents, outer(directions, shape), sizes()),
                             {outputs.data(), outputs.size()},
                             {reinterpret_cast<std::uint8_t*>(degenerate.data()), degenerate.size()}};
    check(request.outputs, static_cast<std::size_t>(directions) * B * outputs_per_instance(), false, "outputs must be (K, B, outputs)");
    check(request.degenerate, B, false, "degenerate must be (B,)");
    run([&] { return engine_->jvp(batch, request, threads, interrupted); });
  }

  // Lets XLA programs that carry `key` find this kernel while it lives; `domains` has the fields of cvxl::Domain a parameter,
  // `tolerances` those of cvxl::Tolerances.
  using DomainFields = std::tuple<int, int, bool, bool, bool, cvxl::Index, std::vector<cvxl::Index>, std::vector<double>, std::vector<double>>;
  void publish(std::int64_t key, const std::vector<DomainFields>& domains, const std::tuple<double, double, double, double>& tolerances) const {
    std::vector<cvxl::Domain> copies;
    for (const auto& fields : domains) copies.push_back(std::make_from_tuple<cvxl::Domain>(fields));
    cvxl::publish(key, engine_, std::move(copies), std::make_from_tuple<cvxl::Tolerances>(tolerances));
  }

  void hvp(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape, const Array<const double>& tape,
           std::int64_t directions, const Array<const double>& outputs, const std::vector<std::optional<Parameter>>& tangents,
           const std::vector<std::optional<Array<double>>>& gradients, const Array<bool>& degenerate, int threads) const {
    const cvxl::BatchView batch = view(parameters, shape, sizes());
    const cvxl::HvpRequest request{pull(points(tape, batch), directions, outputs, gradients, degenerate),
                                   view(tangents, outer(directions, shape), sizes())};
    run([&] { return engine_->hvp(batch, request, threads, interrupted); });
  }

  void centre(const std::vector<std::optional<Parameter>>& parameters, const std::vector<std::int64_t>& shape, const Array<double>& tape,
              double smoothing, int threads) const {
    const cvxl::BatchView batch = view(parameters, shape, sizes());
    run([&, at = points(tape, batch)] { return engine_->centre(batch, at, smoothing, threads, interrupted); });
  }

  nb::dict describe() const {
    const cvxl::Description d = engine_->describe();
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
  const std::vector<cvxl::Index>& sizes() const { return engine_->problem().parameter_sizes; }
  std::size_t outputs_per_instance() const { return static_cast<std::size_t>(engine_->problem().R.pattern.rows()); }

  static std::vector<std::int64_t> outer(std::int64_t directions, std::vector<std::int64_t> shape) {
    shape.insert(shape.begin(), directions);
    return shape;
  }

  cvxl::VjpRequest pull(std::span<const double> tape, std::int64_t directions, const Array<const double>& outputs,
                        const std::vector<std::optional<Array<double>>>& gradients, const Array<bool>& degenerate) const {
    const std::size_t K = static_cast<std::size_t>(directions), B = tape.size() / point();
    cvxl::VjpRequest request{tape, directions, {outputs.data(), outputs.size()}, {}, {reinterpret_cast<std::uint8_t*>(degenerate.data()), degenerate.size()}};
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
  std::size_t point() const { return static_cast<std::size_t>(engine_->problem().structure.n) + 2 * static_cast<std::size_t>(engine_->problem().structure.m); }

  template <class T>
  std::span<T> points(const Array<T>& tape, const cvxl::BatchView& batch) const {
    const std::span<T> all(tape.data(), tape.size());
    check(all, static_cast<std::size_t>(batch.size()) * point(), false, "a tape must be (B, n + 2 m)");
    return all;
  }

  static std::vector<cvxl::Cone> blocks(const std::vector<ConeTuple>& cones) {
    std::vector<cvxl::Cone> result;
    for (const auto& [kind, order, alpha] : cones) {
      if (kind < 0 || kind >= cvxl::Cone::kinds) throw std::invalid_argument("no such kind of cone");
      result.push_back({static_cast<cvxl::Cone::Kind>(kind), order, alpha});
    }
    return result;
  }

  std::shared_ptr<const cvxl::Engine> engine_;  // XLA programs look for it
};

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // a tensor alive at exit keeps its kernel, which is no leak
  m.doc() = "Native engine: batches of cone programs of one structure, solved and differentiated in SIMD lanes.";
  nb::class_<cvxl::Settings>(m, "Settings", "The options of a solve, read once.")
      .def("__init__", [](cvxl::Settings* self, const nb::dict& options) { new (self) cvxl::Settings(settings(options)); }, "options"_a);
  nb::class_<Kernel>(m, "Kernel", "One compiled problem; immutable, usable from several threads.")
      .def(nb::init<cvxl::Index, cvxl::Index, cvxl::Index, const std::vector<Kernel::ConeTuple>&, std::vector<cvxl::Index>, const Vector<cvxl::Index>&, const Vector<cvxl::Index>&,
                    const Vector<cvxl::Index>&, const Vector<cvxl::Index>&, const Vector<cvxl::Index>&, const Vector<cvxl::Index>&,
                    const Vector<double>&, const Vector<cvxl::Index>&, const Vector<cvxl::Index>&, const Vector<double>&, bool, double,
                    bool, int>(),
           "n"_a, "m"_a, "zero"_a, "cones"_a, "parameter_sizes"_a, "P_indptr"_a, "P_indices"_a, "A_indptr"_a, "A_indices"_a, "M_indptr"_a,
           "M_indices"_a, "M_data"_a, "R_indptr"_a, "R_indices"_a, "R_data"_a, "check_convexity"_a, "objective_sign"_a, "smoothed"_a = false, "lane_width"_a = 0)
      .def("solve", &Kernel::solve, "parameters"_a, "shape"_a, "settings"_a, "rounding"_a, "invalid"_a.none(), "infinite"_a, "start"_a.none(),
           "outputs"_a, "tape"_a.none(), "status"_a, "iterations"_a, "residuals"_a, "margin"_a)
      .def("vjp", &Kernel::vjp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a, "outputs"_a, "gradients"_a, "degenerate"_a, "threads"_a = 0)
      .def("jvp", &Kernel::jvp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a, "tangents"_a, "outputs"_a, "degenerate"_a, "threads"_a = 0)
      .def("publish", &Kernel::publish, "key"_a, "domains"_a, "tolerances"_a)
      .def("hvp", &Kernel::hvp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a, "outputs"_a, "tangents"_a, "gradients"_a, "degenerate"_a,
           "threads"_a = 0)
      .def("centre", &Kernel::centre, "parameters"_a, "shape"_a, "tape"_a, "smoothing"_a, "threads"_a = 0)
      .def("describe", &Kernel::describe);
  m.def(
      "defaults",
      [] {
        nb::dict options;
        const cvxl::Settings settings;
        cvxl::each_option(settings, [&](const char* name, const auto& value) { options[name] = value; });
        return std::pair(options, settings.reduced_tolerance);
      },
      "The options of a solve with their defaults, and the residual up to which an instance is almost solved.");
  m.def("xla_handlers", &cvxl::xla_handlers, "XLA custom-call handlers by target name.");
  m.def("available_instruction_sets", &cvxl::available_instruction_sets, "Instruction sets this machine runs, best first.");
  m.def(
      "default_threads",
      [] {
        const cvxl::ThreadCount threads = cvxl::default_threads();
        return std::tuple(threads.count, std::string(threads.source), std::string(threads.ignored));
      },
      "Threads of a call that names no number, who says so, and an environment variable that makes no sense.");
}
