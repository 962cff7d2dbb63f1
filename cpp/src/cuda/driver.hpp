#pragma once
// The driver's interface, as far as it is used: what its library exports, found when it is first wanted. Nothing is linked.

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace cvxl::cuda {

// What a device cannot do, in words that say what to do about it.
class DeviceError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
class OutOfDeviceMemory : public DeviceError {
  using DeviceError::DeviceError;
};

using Pointer = std::uint64_t;  // into a device's memory
using Stream = void*;
using Context = void*;
using Module = void*;
using Function = void*;

// Attributes of devices and functions, by the numbers of the driver's interface.
enum class Attribute : int { shared_memory_per_block_optin = 97, processors = 16, shared_memory_per_processor = 81 };

class Driver {
 public:
  // That of this process, libcuda.so.1, or what CVXPYLAYERS_CUDA_DRIVER names at the time. Throws DeviceError where there is none, or
  // one that is too old.
  static const Driver& get();
  // Of a library.
  explicit Driver(const std::string& library);

  // Whether it has kernels of its own, as one has that is made for tests.
  bool brings_kernels() const { return brings_kernels_; }
  int devices() const;
  // The primary context of a device, which frameworks use too, for good.
  Context retain(int device) const;
  // Makes it current in this thread.
  void use(Context context) const;
  int attribute(int device, Attribute which) const;
  Module load(const void* image) const;
  Function function(Module module, const char* name) const;
  void allow_shared_memory(Function function, std::size_t bytes) const;
  // How many blocks of a kernel are resident on a processor at once.
  int resident_blocks(Function function, int threads, std::size_t shared_bytes) const;
  Pointer allocate(std::size_t bytes, Stream stream) const;  // throws OutOfDeviceMemory
  void release(Pointer memory, Stream stream) const;
  void copy_to_device(Pointer to, const void* from, std::size_t bytes, Stream stream) const;
  void copy_to_host(void* to, Pointer from, std::size_t bytes, Stream stream) const;
  void clear(Pointer memory, std::size_t bytes, Stream stream) const;
  void wait(Stream stream) const;
  // Blocks of x × y threads.
  void launch(Function function, unsigned blocks, unsigned x, unsigned y, std::size_t shared_bytes, Stream stream,
              void** arguments) const;

 private:
  using Result = int;
  void check(Result result, const char* what) const;

  bool brings_kernels_;
  template <class... Arguments>
  using Call = Result (*)(Arguments...);
  Call<unsigned> init_;
  Call<int*> version_, count_;
  Call<int*, int> device_;
  Call<void**, int> retain_;
  Call<void*> set_current_;
  Call<int*, int, int> attribute_;
  Call<void**, const void*> load_;
  Call<void**, void*, const char*> function_;
  Call<void*, int, int> set_attribute_;
  Call<int*, void*, int, std::size_t> occupancy_;
  Call<Pointer*, std::size_t, void*> allocate_;
  Call<Pointer, void*> free_;
  Call<Pointer, const void*, std::size_t, void*> to_device_;
  Call<void*, Pointer, std::size_t, void*> to_host_;
  Call<Pointer, unsigned char, std::size_t, void*> set_;
  Call<void*> synchronize_;
  Call<void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**> launch_;
  Call<int, const char**> name_;
};

}  // namespace cvxl::cuda
