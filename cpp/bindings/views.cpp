// What Python sees of arrays.

#include "views.hpp"

namespace cvxl::bindings {

void bind_arrays(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<Arrays>(m, "Arrays", "The parameters of a call where they lie: a sequence of arrays (*batch_i, size) of NumPy.")
      .def_prop_ro("shape", &Arrays::axes_of_batch)
      .def("__len__", &Arrays::size)
      .def("__getitem__", &Arrays::flat);
  m.def("read", &Arrays::read, "arrays"_a, "shapes"_a,
        "The parameters of these shapes, where they lie; None where something must be said or converted first.");
  nb::class_<Facts>(m, "Facts", "What a solve says of its instances beside their solutions.")
      .def_prop_ro("status", &Facts::array<&Facts::status>)
      .def_prop_ro("iterations", &Facts::array<&Facts::iterations>)
      .def_prop_ro("residuals", &Facts::array<&Facts::residuals, 4>)
      .def_prop_ro("fallback", &Facts::array<&Facts::fallback>)
      .def_prop_ro("margin", &Facts::array<&Facts::margin>);
}

}  // namespace cvxl::bindings
