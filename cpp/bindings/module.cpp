// The extension module.

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include "cvxl/threads.hpp"
#include "device.hpp"
#include "kernel.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using cvxl::Index, cvxl::bindings::Kernel;

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // a tensor alive at exit keeps its kernel, which is no leak
  m.doc() = "Native engine: batches of cone programs of one structure, solved and differentiated in SIMD lanes.";
  nb::class_<cvxl::Settings>(m, "Settings", "The options of a solve, read once.")
      .def(
          "__init__",
          [](cvxl::Settings* self, const nb::dict& options) { new (self) cvxl::Settings(cvxl::bindings::settings(options)); },
          "options"_a);
  cvxl::bindings::bind_arrays(m);
  nb::class_<Kernel>(m, "Kernel", "One compiled problem; immutable, usable from several threads.")
      .def(nb::init<Index, Index, Index, const std::vector<Kernel::ConeTuple>&, const Kernel::PatternTuple&,
                    const Kernel::PatternTuple&, const Kernel::MapTuple&, const Kernel::MapTuple&, std::vector<Index>, bool, double,
                    bool, int>(),
           "n"_a, "m"_a, "zero"_a, "cones"_a, "P"_a, "A"_a, "M"_a, "R"_a, "parameter_sizes"_a, "check_convexity"_a,
           "objective_sign"_a, "smoothed"_a = false, "lane_width"_a = 0)
      .def("solve", &Kernel::solve, "parameters"_a, "shape"_a, "settings"_a, "rounding"_a, "invalid"_a.none(), "infinite"_a,
           "start"_a.none(), "tape"_a)
      .def("vjp", &Kernel::vjp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a.none(), "outputs"_a, "wanted"_a,
           "threads"_a = 0)
      .def("jvp", &Kernel::jvp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a, "tangents"_a, "outputs"_a, "degenerate"_a,
           "threads"_a = 0)
      .def("publish", &Kernel::publish, "key"_a, "domains"_a, "tolerances"_a)
      .def("hvp", &Kernel::hvp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a.none(), "outputs"_a, "tangents"_a, "wanted"_a,
           "threads"_a = 0)
      .def("centre", &Kernel::centre, "parameters"_a, "shape"_a, "tape"_a, "smoothing"_a, "threads"_a = 0)
      .def("describe", &Kernel::describe);
  cvxl::bindings::bind_devices(m);
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
