#pragma once
// Arrays of Python as the spans and views that the engine takes, and new ones for what it writes.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "cvxl/engine.hpp"
#include "dlpack.hpp"

namespace cvxl::bindings {

namespace nb = nanobind;

using Shape = std::vector<std::int64_t>;
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

template <class T>
void check(std::span<T> s, std::size_t size, bool optional, const char* message) {
  if (s.size() != size && !(optional && s.empty())) throw std::invalid_argument(message);
}

inline std::int64_t product(std::span<const std::int64_t> lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{1}, std::multiplies<>());
}

// An array of doubles in the host's memory, which must outlive this: of NumPy, or of a library that has an exchange.
struct Doubles {
  double* data;
  Shape shape, strides;  // in entries
  const dlpack::Exchange* exchange;

  // Nothing where the array holds something else, or lies elsewhere, nowhere, or not on multiples of the size of a double.
  static std::optional<Doubles> of(nb::handle array) {
    Doubles found;
    if (!(PyObject_CheckBuffer(array.ptr()) ? found.read_buffer(array.ptr()) : found.read_tensor(array))) {
      PyErr_Clear();
      return {};
    }
    if (reinterpret_cast<std::uintptr_t>(found.data) % alignof(double) != 0 || (!found.data && product(found.shape))) return {};
    return found;
  }

  // Whether the axes from `first` on lie as in C order.
  bool in_order(std::size_t first = 0) const {
    std::int64_t expected = 1;
    for (std::size_t k = shape.size(); k-- > first; expected *= shape[k])
      if (shape[k] > 1 && strides[k] != expected) return false;
    return true;
  }

  // All entries in C order: where they lie or, if they lie otherwise, copied to `room`.
  std::span<double> entries(std::vector<double>& room) const {
    const auto size = static_cast<std::size_t>(product(shape));
    if (size == 0 || in_order()) return {data, size};
    room.resize(size);
    Shape at(shape.size(), 0);
    const double* from = data;
    for (double& entry : room) {
      entry = *from;
      for (std::size_t k = shape.size(); k-- > 0;) {
        from += strides[k];
        if (++at[k] < shape[k]) break;
        from -= shape[k] * strides[k];
        at[k] = 0;
      }
    }
    return room;
  }

 private:
  bool read_buffer(PyObject* array) {
    constexpr auto size = static_cast<Py_ssize_t>(sizeof(double));
    Py_buffer buffer;
    if (PyObject_GetBuffer(array, &buffer, PyBUF_STRIDES | PyBUF_FORMAT) != 0) return false;
    data = static_cast<double*>(buffer.buf);
    bool doubles = buffer.format && std::string_view(buffer.format) == "d";
    for (int k = 0; k < buffer.ndim; ++k) {
      doubles &= buffer.strides[k] % size == 0;
      shape.push_back(buffer.shape[k]);
      strides.push_back(buffer.strides[k] / size);
    }
    exchange = nullptr;
    PyBuffer_Release(&buffer);
    return doubles;
  }

  bool read_tensor(nb::handle array) {
    exchange = dlpack::Exchange::of(array);
    dlpack::Tensor tensor;
    if (!exchange || exchange->look(array.ptr(), &tensor) != 0) return false;
    if (tensor.device.device_type != nb::device::cpu::value || tensor.dtype != nb::dtype<double>()) return false;
    data = reinterpret_cast<double*>(static_cast<std::byte*>(tensor.data) + tensor.byte_offset);
    shape.assign(tensor.shape, tensor.shape + tensor.ndim);
    strides.assign(tensor.strides, tensor.strides + tensor.ndim);
    return true;
  }
};

// A new array of doubles of the library that has the exchange, of NumPy without one, and its memory.
inline std::pair<nb::object, double*> make(const dlpack::Exchange* exchange, const Shape& shape) {
  if (exchange) return exchange->make(shape);
  static const nb::object& empty = *new nb::object(nb::module_::import_("numpy").attr("empty"));
  nb::object array = empty(shape);
  return {array, Doubles::of(array).value().data};
}

// What a solve says of its instances beside their solutions; arrays of NumPy are made when they are asked for.
class Facts {
 public:
  explicit Facts(std::size_t count)
      : count_(count), numbers_(new double[5 * count]), iterations_(new Index[count]), bytes_(new std::int8_t[2 * count]()) {}

  std::span<double> residuals() const { return {numbers_.get(), 4 * count_}; }
  std::span<double> margin() const { return {numbers_.get() + 4 * count_, count_}; }
  std::span<Index> iterations() const { return {iterations_.get(), count_}; }
  std::span<std::int8_t> status() const { return {bytes_.get(), count_}; }
  std::span<bool> fallback() const { return {reinterpret_cast<bool*>(bytes_.get() + count_), count_}; }

  // The array of one of these, which keeps them all.
  template <auto part, std::size_t... width>
  static auto array(nb::handle_t<Facts> self) {
    const auto numbers = (nb::inst_ptr<Facts>(self)->*part)();
    using T = typename decltype(numbers)::element_type;
    return nb::ndarray<nb::numpy, T>(numbers.data(), {nb::inst_ptr<Facts>(self)->count_, width...}, self);
  }

 private:
  std::size_t count_;
  std::unique_ptr<double[]> numbers_;
  std::unique_ptr<Index[]> iterations_;
  std::unique_ptr<std::int8_t[]> bytes_;
};

// New flags of NumPy, none of them set, and their memory.
inline std::pair<nb::object, std::span<std::uint8_t>> make_flags(std::int64_t count) {
  static const nb::object& zeros = *new nb::object(nb::module_::import_("numpy").attr("zeros"));
  nb::object array = zeros(count, "?");
  Py_buffer buffer;
  if (PyObject_GetBuffer(array.ptr(), &buffer, PyBUF_SIMPLE) != 0) throw nb::python_error();
  const std::span<std::uint8_t> flags(static_cast<std::uint8_t*>(buffer.buf), static_cast<std::size_t>(buffer.len));
  PyBuffer_Release(&buffer);
  return {array, flags};
}

// The parameters of a call, arrays (*batch_i, *shape_i) where they lie, or tangents of them, where None is zero.
class Arrays {
 public:
  // Nothing where one is no array of doubles of such a shape with its own axes in C order, where they are of several libraries, or
  // batch axes do not broadcast.
  static std::optional<Arrays> read(nb::handle arrays, const std::vector<Shape>& shapes) {
    Arrays found;
    for (const nb::handle array : nb::borrow<nb::object>(arrays)) {
      if (found.all_.size() == shapes.size()) return {};
      const Shape& own = shapes[found.all_.size()];
      One& one = found.all_.emplace_back(One{nb::borrow(array), {}, 0});
      if (array.is_none()) continue;
      std::optional<Doubles> at = Doubles::of(array);
      if (!at || at->shape.size() < own.size()) return {};
      one.axes = at->shape.size() - own.size();
      const bool fits = std::equal(own.begin(), own.end(), at->shape.end() - static_cast<std::ptrdiff_t>(own.size()));
      if (!fits || (product(at->shape) && !at->in_order(one.axes)) || !found.broadcast({at->shape.data(), one.axes})) return {};
      if (found.exchange_.value_or(at->exchange) != at->exchange) return {};
      found.exchange_ = at->exchange;
      one.at = std::move(*at);
    }
    if (found.all_.size() != shapes.size()) return {};
    return found;
  }

  std::size_t size() const { return all_.size(); }
  // To which the batch axes broadcast.
  nb::tuple axes_of_batch() const {
    nb::tuple axes = nb::steal<nb::tuple>(PyTuple_New(static_cast<Py_ssize_t>(shape_.size())));
    for (std::size_t k = 0; k < shape_.size(); ++k)
      PyTuple_SetItem(axes.ptr(), static_cast<Py_ssize_t>(k), PyLong_FromLongLong(shape_[k]));
    return axes;
  }
  const dlpack::Exchange* exchange() const { return exchange_.value_or(nullptr); }

  // Seen from a batch of this shape, to which they broadcast.
  BatchView view(const Shape& batch) const {
    BatchView view{batch, {}};
    view.parameters.reserve(size());
    for (const One& one : all_) {
      ParameterView& p = view.parameters.emplace_back(ParameterView{one.at.data, Shape(batch.size(), 0)});
      if (one.axes > batch.size()) throw std::invalid_argument("a parameter has more axes than the batch");
      for (std::size_t k = 0; k < one.axes; ++k) {
        const std::size_t axis = batch.size() - one.axes + k;
        if (one.at.shape[k] == batch[axis])
          p.strides[axis] = one.at.shape[k] == 1 ? 0 : one.at.strides[k];
        else if (one.at.shape[k] != 1)
          throw std::invalid_argument("a parameter's batch axes do not broadcast to the batch shape");
      }
    }
    return view;
  }

  // Batch axes of one of them.
  std::span<const std::int64_t> axes(std::size_t i) const { return {all_[i].at.shape.data(), all_[i].axes}; }

  // The shape of its gradient: its own where another library has it, (*batch_i, size) for NumPy.
  Shape like(std::size_t i) const {
    const Shape& full = all_[i].at.shape;
    if (exchange()) return full;
    Shape flat(axes(i).begin(), axes(i).end());
    flat.push_back(product(std::span(full).subspan(all_[i].axes)));
    return flat;
  }

  // One of them as an array (*batch_i, size) of NumPy.
  nb::ndarray<nb::numpy, const double> flat(std::size_t i) const {
    if (i >= size()) throw nb::index_error();
    const One& one = all_[i];
    std::vector<std::size_t> lengths(axes(i).begin(), axes(i).end());
    Shape strides(one.at.strides.begin(), one.at.strides.begin() + static_cast<std::ptrdiff_t>(one.axes));
    lengths.push_back(static_cast<std::size_t>(product(std::span(one.at.shape).subspan(one.axes))));
    strides.push_back(1);
    return {one.at.data, lengths.size(), lengths.data(), one.owner, strides.data()};
  }

 private:
  struct One {
    nb::object owner;
    Doubles at;
    std::size_t axes;
  };

  // Makes the batch axes those to which these broadcast with them, as NumPy does, if they do.
  bool broadcast(std::span<const std::int64_t> axes) {
    if (axes.size() > shape_.size()) shape_.insert(shape_.begin(), axes.size() - shape_.size(), 1);
    for (std::size_t k = 0; k < axes.size(); ++k) {
      std::int64_t& length = shape_[shape_.size() - axes.size() + k];
      if (length == 1) length = axes[k];
      if (axes[k] != 1 && axes[k] != length) return false;
    }
    return true;
  }

  std::vector<One> all_;
  Shape shape_;
  std::optional<const dlpack::Exchange*> exchange_;
};

// Adds Arrays, read, and Facts.
void bind_arrays(nb::module_& m);

}  // namespace cvxl::bindings
