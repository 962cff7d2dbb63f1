#pragma once
// Buffers of XLA as what the engine takes: single precision becomes double, and back; doubles that came as pairs of uint32 are
// doubles.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

#include "cvxl/engine.hpp"
#include "xla_abi.hpp"

namespace cvxl::xla {

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

using Shape = std::vector<std::int64_t>;

inline Shape shape(const Buffer& b) { return {b.dimensions().begin(), b.dimensions().end()}; }

// An operand as doubles: in place, or converted.
class Doubles {
 public:
  explicit Doubles(const Buffer& buffer) : dims_(shape(buffer)), size_(buffer.size()) {
    if (buffer.type() == Type::float32) {
      const auto* from = static_cast<const float*>(buffer.data());
      copy_.assign(from, from + size_);
      data_ = copy_.data();
    } else {
      require(buffer.type() == Type::float64, "parameters must be float32 or float64");
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
    if (buffer.type() == Type::float32)
      copy_.resize(size_);
    else
      require(buffer.type() == Type::float64, "results must be float32 or float64");
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
inline ParameterView view(const Doubles& array, const Shape& batch, Index size, bool directions) {
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

inline BatchView view(const std::vector<Doubles>& arrays, const Shape& batch, const std::vector<Index>& sizes) {
  BatchView b{batch, {}};
  for (std::size_t i = 0; i < arrays.size(); ++i) b.parameters.push_back(view(arrays[i], batch, sizes[i], false));
  return b;
}

inline std::vector<Doubles> parameters(const Call& call, std::size_t count) {
  std::vector<Doubles> arrays;
  for (std::size_t i = 0; i < count; ++i) arrays.emplace_back(call.argument(i));
  return arrays;
}

template <class T>
std::span<T> entries(const Buffer& b) {
  return {static_cast<T*>(b.data()), b.size()};
}

// Doubles that came as pairs of integers.
inline std::span<double> pairs(const Buffer& b) { return {static_cast<double*>(b.data()), b.size() / 2}; }

}  // namespace cvxl::xla
