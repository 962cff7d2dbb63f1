// What Python sees of devices.

#include "device.hpp"

#include <nanobind/stl/string.h>

#include <string>

#include "cuda/images.hpp"

namespace cvxl::bindings {
namespace {

// Throws DeviceError, which says why, where problems cannot be solved on the device.
void require_device(int device) {
  const cuda::Driver& driver = cuda::Driver::get();
  if (!cuda::solve_image && !driver.brings_kernels()) throw cuda::DeviceError(cuda::no_kernels);
  if (const int count = driver.devices(); device >= count)
    throw cuda::DeviceError("the NVIDIA driver knows " + std::to_string(count) + (count == 1 ? " device" : " devices") +
                            ", and none with the number " + std::to_string(device));
}

}  // namespace

void bind_devices(nb::module_& m) {
  using namespace nb::literals;
  const nb::exception<cuda::DeviceError> failed(m, "DeviceError", PyExc_RuntimeError);
  nb::exception<cuda::OutOfDeviceMemory>(m, "OutOfDeviceMemory", failed.ptr());
  nb::class_<DeviceKernel>(m, "DeviceKernel", "One compiled problem on a device; immutable.")
      .def(nb::init<const Kernel&, int>(), "kernel"_a, "device"_a)
      .def("solve", &DeviceKernel::solve, "parameters"_a, "shape"_a, "settings"_a, "rounding"_a, "invalid"_a, "infinite"_a,
           "hidden"_a, "start"_a, "outputs"_a, "tape"_a, "status"_a, "iterations"_a, "residuals"_a, "margin"_a, "stream"_a,
           "lend"_a)
      .def("vjp", &DeviceKernel::vjp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a, "outputs"_a, "gradients"_a,
           "degenerate"_a, "stream"_a, "lend"_a)
      .def("jvp", &DeviceKernel::jvp, "parameters"_a, "shape"_a, "tape"_a, "directions"_a, "tangents"_a, "outputs"_a,
           "degenerate"_a, "stream"_a, "lend"_a);
  m.def("require_device", &require_device, "device"_a, "Raises DeviceError where problems cannot be solved on the device.");
}

}  // namespace cvxl::bindings
