#pragma once
// One compiled problem on a device, as Python sees it: addresses of device memory become spans, whose sizes follow from the batch.
// No array of the host is looked at, and nothing waits for the device.

#include <algorithm>
#include <memory>
#include <string>

#include "cuda/device_engine.hpp"
#include "kernel.hpp"

namespace cvxl::bindings {

class DeviceKernel {
 public:
  using Address = std::uintptr_t;  // of the device; 0 for none
  // A parameter's address, whether it is float32, and its strides along the batch axes, in entries.
  using Source = std::tuple<Address, bool, std::vector<std::int64_t>>;
  // A gradient's address and whether it is summed over the batch.
  using Gradient = std::tuple<Address, bool>;

  DeviceKernel(const Kernel& kernel, int device) : engine_(kernel.problem(), cuda::Driver::get(), device) {}

  void solve(const std::vector<Source>& parameters, const std::vector<std::int64_t>& shape, Settings settings, double rounding,
             Address invalid, bool infinite, bool hidden, Address start, Address outputs, Address tape, Address status,
             Address iterations, Address residuals, Address margin, Address stream, const nb::callable& lend) const {
    const cuda::DeviceBatch batch = view(parameters, shape);
    const auto B = static_cast<std::size_t>(batch.size());
    settings.rounding = std::max(settings.rounding, rounding);
    cuda::DeviceSolve to{at<const std::uint8_t>(invalid, B),
                         at<const double>(start, B * point()),
                         at<double>(outputs, B * rows()),
                         at<double>(tape, B * point()),
                         at<double>(margin, B),
                         at<double>(residuals, 4 * B),
                         at<std::int8_t>(status, B),
                         at<Index>(iterations, B),
                         infinite,
                         hidden};
    queue(lend, [&](const cuda::Lend& l) { engine_.solve(batch, settings, to, reinterpret_cast<cuda::Stream>(stream), l); });
  }

  void vjp(const std::vector<Source>& parameters, const std::vector<std::int64_t>& shape, Address tape, std::int64_t directions,
           Address outputs, const std::vector<Gradient>& gradients, Address degenerate, Address stream,
           const nb::callable& lend) const {
    const cuda::DeviceBatch batch = view(parameters, shape);
    const auto B = static_cast<std::size_t>(batch.size()), K = static_cast<std::size_t>(directions);
    if (gradients.size() != sizes().size()) throw std::invalid_argument("one gradient (or address 0) per parameter is needed");
    cuda::DeviceVjp to{at<const double>(tape, B * point()),
                       directions,
                       at<const double>(outputs, K * B * rows()),
                       {},
                       at<std::uint8_t>(degenerate, B)};
    for (std::size_t p = 0; p < gradients.size(); ++p)
      to.gradients.push_back(
          at<double>(std::get<0>(gradients[p]), K * (std::get<1>(gradients[p]) ? 1 : B) * static_cast<std::size_t>(sizes()[p])));
    queue(lend, [&](const cuda::Lend& l) { engine_.vjp(batch, to, reinterpret_cast<cuda::Stream>(stream), l); });
  }

  // Tangents as parameters, with the axis of the directions in front; address 0 for zero.
  void jvp(const std::vector<Source>& parameters, const std::vector<std::int64_t>& shape, Address tape, std::int64_t directions,
           const std::vector<Source>& tangents, Address outputs, Address degenerate, Address stream,
           const nb::callable& lend) const {
    const cuda::DeviceBatch batch = view(parameters, shape);
    const auto B = static_cast<std::size_t>(batch.size());
    std::vector<std::int64_t> outer = shape;
    outer.insert(outer.begin(), directions);
    cuda::DeviceJvp to{at<const double>(tape, B * point()), view(tangents, outer),
                       at<double>(outputs, static_cast<std::size_t>(directions) * B * rows()), at<std::uint8_t>(degenerate, B)};
    queue(lend, [&](const cuda::Lend& l) { engine_.jvp(batch, to, reinterpret_cast<cuda::Stream>(stream), l); });
  }

 private:
  const std::vector<Index>& sizes() const { return engine_.problem().parameter_sizes; }
  std::size_t rows() const { return static_cast<std::size_t>(engine_.problem().R.pattern.rows()); }
  std::size_t point() const {
    const Structure& s = engine_.problem().structure;
    return static_cast<std::size_t>(s.n) + 2 * static_cast<std::size_t>(s.m);
  }

  template <class T>
  static std::span<T> at(Address address, std::size_t count) {
    return address ? std::span<T>(reinterpret_cast<T*>(address), count) : std::span<T>();
  }

  cuda::DeviceBatch view(const std::vector<Source>& sources, const std::vector<std::int64_t>& shape) const {
    cuda::DeviceBatch batch{shape, {}, {}};
    if (sources.size() != sizes().size()) throw std::invalid_argument("one source per parameter is needed");
    for (const auto& [address, single, strides] : sources) {
      if (strides.size() != shape.size()) throw std::invalid_argument("one stride per batch axis is needed");
      batch.source.push_back({reinterpret_cast<const void*>(address), single});
      batch.strides.push_back(strides);
    }
    return batch;
  }

  // Queues without the GIL, which memory is borrowed with: `lend` gives an address, or 0 where there is no room.
  template <class F>
  static void queue(const nb::callable& lend, F&& call) {
    const cuda::Lend borrow = [&](std::size_t bytes) -> cuda::Pointer {
      const nb::gil_scoped_acquire gil;
      const auto address = nb::cast<cuda::Pointer>(lend(bytes));
      if (!address)
        throw cuda::OutOfDeviceMemory("the device has too little memory left: " + std::to_string(bytes) + " bytes are wanted");
      return address;
    };
    const nb::gil_scoped_release release;
    call(borrow);
  }

  cuda::DeviceEngine engine_;
};

// Adds DeviceKernel, its errors, and require_device.
void bind_devices(nb::module_& m);

}  // namespace cvxl::bindings
