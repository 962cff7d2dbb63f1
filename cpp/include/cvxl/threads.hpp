#pragma once
#include <filesystem>
#include <optional>
#include <string_view>

namespace cvxl {

// Threads of a call that names no number of its own, and who says so.
struct ThreadCount {
  int count;
  std::string_view source;
  std::string_view ignored;  // an environment variable that makes no sense, with its value; empty where there is none
};

// The first that is set of CVXPYLAYERS_NUM_THREADS and OMP_NUM_THREADS; else what the process may run on: the lesser of its
// affinity and of the CPU quota of its control groups. Variables and quota are read once in a process, the affinity at every call.
// Throws std::invalid_argument where CVXPYLAYERS_NUM_THREADS is no integer ≥ 1.
ThreadCount default_threads();

// The CPUs' worth of time that the control groups of this process allow it, versions 1 and 2, each with the groups above it;
// nothing where there is no limit. Reads `root`/proc/self/cgroup and what is mounted below `root`/sys/fs/cgroup.
std::optional<double> cpu_quota(const std::filesystem::path& root = "/");

}  // namespace cvxl
