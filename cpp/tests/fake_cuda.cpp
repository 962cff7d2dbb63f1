// A driver that has no device: its memory is the host's, and its kernels are teams of fibers. FAKE_CUDA_VERSION is the version it
// says it has, FAKE_CUDA_DEVICES how many devices, FAKE_CUDA_MEMORY how many bytes it lends at once, FAKE_CUDA_SHARED how many a
// block shares.

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>

#include "fibers.hpp"
#include "team/adjoint.hpp"
#include "team/solve.hpp"

using namespace cvxl;
using V = CVXL_ISA::WatchedNumber;

namespace {

constexpr int success = 0, invalid_value = 1, out_of_memory = 2, not_found = 500, launch_failed = 719;

long from_environment(const char* name, long otherwise) {
  const char* value = std::getenv(name);
  return value ? std::atol(value) : otherwise;
}

// What is lent, with its size in front.
std::atomic<long> lent = 0;
constexpr std::size_t front = 64;

constexpr unsigned most_threads = 64;  // that fibers take

const char* const kernels[] = {"cvxl_solve", "cvxl_vjp", "cvxl_jvp", "cvxl_solve_again", "cvxl_sum_blocks", "cvxl_write"};

// Arguments of all kernels but the last two: job, slots, slot, near_slot.
template <class Job, class Run>
int run_teams(unsigned blocks, unsigned threads, unsigned teams, unsigned shared, void** arguments, Run&& work) {
  const Job& job = *static_cast<const Job*>(arguments[0]);
  std::byte* const slots = *static_cast<std::byte**>(arguments[1]);
  const auto size = [&](int k) { return *static_cast<std::size_t*>(arguments[k]); };
  if (size(3) * teams > shared) return invalid_value;
  for (unsigned team = 0; team < blocks * teams; ++team) {
    std::vector<double> near(size(3) / 8 + 8, __builtin_nan(""));
    std::byte* const aligned = reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(near.data()) + 63) / 64 * 64);
    testing::Watch watch(slots + team * size(2), size(2));
    const bool together = testing::Fibers(static_cast<int>(std::min(threads, most_threads)), team).run([&] {
      work(job, Arena(slots + team * size(2), aligned, size(3)));
    });
    if (!together || watch.conflicts > 0) return launch_failed;
  }
  return success;
}

int sum_blocks(void** arguments) {
  const auto* partial = *static_cast<const double**>(arguments[0]);
  std::int64_t numbers[4];
  for (int k = 0; k < 4; ++k) numbers[k] = *static_cast<std::int64_t*>(arguments[k + 1]);
  const auto [blocks, directions, stride, entries] = numbers;
  double* gradient = *static_cast<double**>(arguments[5]);
  for (std::int64_t at = 0; at < directions * entries; ++at) {
    gradient[at] = 0.0;
    for (std::int64_t b = 0; b < blocks; ++b) gradient[at] += partial[(b * directions + at / entries) * stride + at % entries];
  }
  return success;
}

int write(void** arguments) {
  std::memcpy(*static_cast<void**>(arguments[1]), arguments[0], *static_cast<unsigned*>(arguments[2]));
  return success;
}

}  // namespace

#define FAKE extern "C" __attribute__((visibility("default"))) int

FAKE cvxl_brings_kernels() { return 1; }
FAKE cuInit(unsigned) { return success; }
FAKE cuDriverGetVersion(int* version) {
  *version = static_cast<int>(from_environment("FAKE_CUDA_VERSION", 13000));
  return success;
}
FAKE cuGetErrorName(int, const char** name) {
  *name = "FAKE_ERROR";
  return success;
}
FAKE cuDeviceGetCount(int* count) {
  *count = static_cast<int>(from_environment("FAKE_CUDA_DEVICES", 1));
  return success;
}
FAKE cuDeviceGet(int* handle, int device) {
  *handle = device;
  return device < from_environment("FAKE_CUDA_DEVICES", 1) ? success : invalid_value;
}
FAKE cuDevicePrimaryCtxRetain(void** context, int) {
  *context = nullptr;
  return success;
}
FAKE cuCtxSetCurrent(void*) { return success; }
FAKE cuDeviceGetAttribute(int* value, int which, int) {
  const auto shared = static_cast<int>(from_environment("FAKE_CUDA_SHARED", 48 << 10));
  *value = which == 16 ? 2 : which == 97 ? shared : 64 << 10;  // processors; shared memory of a block, of a processor
  return success;
}
FAKE cuModuleLoadData(void** module, const void* image) {
  *module = const_cast<void*>(image);
  return success;
}
FAKE cuModuleGetFunction(void** function, void*, const char* name) {
  for (const char* const& kernel : kernels)
    if (std::string(kernel) == name) {
      *function = const_cast<char**>(const_cast<char* const*>(&kernel));
      return success;
    }
  return not_found;
}
FAKE cuFuncSetAttribute(void*, int, int bytes) { return bytes <= 48 << 10 ? success : invalid_value; }
FAKE cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, std::size_t) {
  *blocks = 4;
  return success;
}
FAKE cuMemAllocAsync(std::uint64_t* memory, std::size_t bytes, void*) {
  if (lent + static_cast<long>(bytes) > from_environment("FAKE_CUDA_MEMORY", 1L << 30)) return out_of_memory;
  lent += static_cast<long>(bytes);
  auto* block = static_cast<std::byte*>(std::aligned_alloc(front, (front + bytes + 63) / 64 * 64));
  std::memcpy(block, &bytes, sizeof(bytes));
  std::memset(block + front, 0xff, bytes);
  *memory = reinterpret_cast<std::uint64_t>(block + front);
  return success;
}
FAKE cuMemFreeAsync(std::uint64_t memory, void*) {
  auto* block = reinterpret_cast<std::byte*>(memory) - front;
  std::size_t bytes;
  std::memcpy(&bytes, block, sizeof(bytes));
  lent -= static_cast<long>(bytes);
  std::free(block);
  return success;
}
FAKE cuMemcpyHtoDAsync_v2(std::uint64_t to, const void* from, std::size_t bytes, void*) {
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return success;
}
FAKE cuMemcpyDtoHAsync_v2(void* to, std::uint64_t from, std::size_t bytes, void*) {
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return success;
}
FAKE cuMemsetD8Async(std::uint64_t memory, unsigned char value, std::size_t bytes, void*) {
  std::memset(reinterpret_cast<void*>(memory), value, bytes);
  return success;
}
FAKE cuStreamSynchronize(void*) { return success; }
FAKE cuLaunchKernel(void* function, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned teams, unsigned,
                    unsigned shared, void*, void** arguments, void**) {
  const auto kernel = static_cast<const char* const*>(function) - kernels;
  if (threads * teams > 1024) return invalid_value;
  static std::mutex one;  // as many threads as like may call, and fibers are of one
  const std::lock_guard lock(one);
  if (kernel == 0)
    return run_teams<SolveView>(blocks, threads, teams, shared, arguments,
                                [](const SolveView& job, Arena arena) { CVXL_ISA::team_solve<V>(job, arena); });
  if (kernel == 1)
    return run_teams<AdjointView>(blocks, threads, teams, shared, arguments,
                                  [](const AdjointView& job, Arena arena) { CVXL_ISA::team_vjp<V>(job, arena); });
  if (kernel == 2)
    return run_teams<AdjointView>(blocks, threads, teams, shared, arguments,
                                  [](const AdjointView& job, Arena arena) { CVXL_ISA::team_jvp<V>(job, arena); });
  if (kernel == 3)
    return run_teams<SolveView>(blocks, threads, teams, shared, arguments,
                                [](const SolveView& job, Arena arena) { CVXL_ISA::team_solve_again<V>(job, arena); });
  return kernel == 4 ? sum_blocks(arguments) : write(arguments);
}
