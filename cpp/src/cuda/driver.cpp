#include "cuda/driver.hpp"

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

#include <cstdlib>
#include <map>
#include <mutex>

namespace cvxl::cuda {
namespace {

constexpr int oldest = 12000, out_of_memory = 2;  // of the interface: 12.0
constexpr const char* advice = "solve on the host: solver_args={'device': 'cpu'}";

void* open_library(const std::string& name) {
#if defined(_WIN32)
  static_cast<void>(name);
  return nullptr;
#else
  return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
#endif
}

void* find_symbol(void* library, const char* name) {
#if defined(_WIN32)
  static_cast<void>(library);
  static_cast<void>(name);
  return nullptr;
#else
  return dlsym(library, name);
#endif
}

}  // namespace

const Driver& Driver::get() {
  static std::mutex one;
  static std::map<std::string, Driver> known;
  const char* named = std::getenv("CVXPYLAYERS_CUDA_DRIVER");
  const std::string name = named ? named : "libcuda.so.1";
  const std::lock_guard lock(one);
  return known.try_emplace(name, name).first->second;
}

Driver::Driver(const std::string& name) {
  void* const library = open_library(name);
  if (!library) throw DeviceError("there is no NVIDIA driver (" + name + "); install one, or " + advice);
  brings_kernels_ = find_symbol(library, "cvxl_brings_kernels");
  const auto find = [&](auto& call, const char* symbol) {
    void* const found = find_symbol(library, symbol);
    if (!found) throw DeviceError("the NVIDIA driver is too old (it has no " + std::string(symbol) + "); update it, or " + advice);
    call = reinterpret_cast<std::remove_reference_t<decltype(call)>>(found);
  };
  find(init_, "cuInit");
  find(version_, "cuDriverGetVersion");
  find(name_, "cuGetErrorName");
  int version = 0;
  if (version_(&version) != 0 || version < oldest)
    throw DeviceError("the NVIDIA driver is too old (it is for CUDA " + std::to_string(version / 1000) + "." +
                      std::to_string(version % 1000 / 10) + ", wanted is 12.0); update it, or " + advice);
  check(init_(0), "starting the NVIDIA driver");
  find(count_, "cuDeviceGetCount");
  find(device_, "cuDeviceGet");
  find(retain_, "cuDevicePrimaryCtxRetain");
  find(set_current_, "cuCtxSetCurrent");
  find(attribute_, "cuDeviceGetAttribute");
  find(load_, "cuModuleLoadData");
  find(function_, "cuModuleGetFunction");
  find(set_attribute_, "cuFuncSetAttribute");
  find(occupancy_, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  find(allocate_, "cuMemAllocAsync");
  find(free_, "cuMemFreeAsync");
  find(to_device_, "cuMemcpyHtoDAsync_v2");
  find(to_host_, "cuMemcpyDtoHAsync_v2");
  find(set_, "cuMemsetD8Async");
  find(synchronize_, "cuStreamSynchronize");
  find(launch_, "cuLaunchKernel");
}

void Driver::check(Result result, const char* what) const {
  if (result == 0) return;
  const char* name = nullptr;
  if (name_(result, &name) != 0 || !name) name = "an unknown error";
  const std::string message = std::string(what) + " failed: " + name;
  if (result == out_of_memory) throw OutOfDeviceMemory(message);
  throw DeviceError(message);
}

int Driver::devices() const {
  int count = 0;
  check(count_(&count), "counting devices");
  return count;
}

Context Driver::retain(int device) const {
  int handle = 0;
  Context context = nullptr;
  check(device_(&handle, device), "finding a device");
  check(retain_(&context, handle), "using a device");
  return context;
}

void Driver::use(Context context) const { check(set_current_(context), "using a device"); }

int Driver::attribute(int device, Attribute which) const {
  int handle = 0, value = 0;
  check(device_(&handle, device), "finding a device");
  check(attribute_(&value, static_cast<int>(which), handle), "asking a device");
  return value;
}

Module Driver::load(const void* image) const {
  Module module = nullptr;
  check(load_(&module, image), "loading kernels");
  return module;
}

Function Driver::function(Module module, const char* name) const {
  Function found = nullptr;
  check(function_(&found, module, name), "finding a kernel");
  return found;
}

void Driver::allow_shared_memory(Function function, std::size_t bytes) const {
  constexpr int most_dynamic_shared_memory = 8;
  check(set_attribute_(function, most_dynamic_shared_memory, static_cast<int>(bytes)), "reserving shared memory");
}

int Driver::resident_blocks(Function function, int threads, std::size_t shared_bytes) const {
  int blocks = 0;
  check(occupancy_(&blocks, function, threads, shared_bytes), "asking a kernel");
  return blocks;
}

Pointer Driver::allocate(std::size_t bytes, Stream stream) const {
  Pointer memory = 0;
  check(allocate_(&memory, bytes, stream), "reserving device memory");
  return memory;
}

void Driver::release(Pointer memory, Stream stream) const { check(free_(memory, stream), "releasing device memory"); }

void Driver::copy_to_device(Pointer to, const void* from, std::size_t bytes, Stream stream) const {
  check(to_device_(to, from, bytes, stream), "copying to a device");
}

void Driver::copy_to_host(void* to, Pointer from, std::size_t bytes, Stream stream) const {
  check(to_host_(to, from, bytes, stream), "copying from a device");
}

void Driver::clear(Pointer memory, std::size_t bytes, Stream stream) const {
  check(set_(memory, 0, bytes, stream), "clearing device memory");
}

void Driver::wait(Stream stream) const { check(synchronize_(stream), "waiting for a device"); }

void Driver::launch(Function function, unsigned blocks, unsigned x, unsigned y, std::size_t shared_bytes, Stream stream,
                    void** arguments) const {
  check(launch_(function, blocks, 1, 1, x, y, 1, static_cast<unsigned>(shared_bytes), stream, arguments, nullptr),
        "starting a kernel");
}

}  // namespace cvxl::cuda
