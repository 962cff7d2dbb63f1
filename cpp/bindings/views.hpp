#pragma once
// Arrays of NumPy as the spans and views that the engine takes.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <span>
#include <stdexcept>

#include "cvxl/engine.hpp"

namespace cvxl::bindings {

namespace nb = nanobind;

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
inline BatchView view(const std::vector<std::optional<Parameter>>& arrays, const std::vector<std::int64_t>& shape,
                      const std::vector<Index>& sizes) {
  BatchView batch{shape, {}};
  if (arrays.size() != sizes.size()) throw std::invalid_argument("one array per parameter is needed");
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    ParameterView p;
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

}  // namespace cvxl::bindings
