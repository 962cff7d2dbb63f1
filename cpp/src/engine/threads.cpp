#include "cvxl/threads.hpp"

#if defined(__linux__)
#include <sched.h>
#elif defined(_WIN32)
#define NOMINMAX
#include <windows.h>
#endif

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace cvxl {
namespace {

namespace fs = std::filesystem;
constexpr double unlimited = std::numeric_limits<double>::infinity();

// An integer ≥ 1 between blanks, or nothing.
std::optional<int> positive(std::string_view text) {
  const auto first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t\r\n");
  if (first == std::string_view::npos || last < first) return {};
  text = text.substr(first, last - first + 1);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 1 ? std::optional(value) : std::nullopt;
}

// Quota over period, each in microseconds; "max" and negative quotas mean none.
double share(std::string_view quota, double period) {
  const double allowed = std::atof(std::string(quota).c_str());
  return allowed > 0.0 && period > 0.0 ? allowed / period : unlimited;
}

// Version 2: cpu.max holds both numbers.
double share_2(const fs::path& group) {
  std::string quota;
  double period = 0.0;
  std::ifstream(group / "cpu.max") >> quota >> period;
  return share(quota, period);
}

// Version 1: one file each.
double share_1(const fs::path& group) {
  std::string quota;
  double period = 0.0;
  std::ifstream(group / "cpu.cfs_quota_us") >> quota;
  std::ifstream(group / "cpu.cfs_period_us") >> period;
  return share(quota, period);
}

// The least share of `group` below `mount` and of all groups above it. In a container the path may be the host's, which does not
// exist here; the mount itself is then the container's group.
template <class Share>
double least(const fs::path& mount, const fs::path& group, Share&& share_of) {
  double result = share_of(mount);
  fs::path here = mount;
  for (const fs::path& part : group.relative_path()) result = std::min(result, share_of(here /= part));
  return result;
}

// What the environment says. An unset or empty variable says nothing.
struct Environment {
  std::optional<int> count;
  std::string_view source;
  std::string ignored;
};

Environment read_environment() {
  const auto variable = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text ? text : "");
  };
  if (const std::string text = variable("CVXPYLAYERS_NUM_THREADS"); !text.empty()) {
    if (const auto count = positive(text)) return {count, "CVXPYLAYERS_NUM_THREADS", ""};
    throw std::invalid_argument("The environment variable CVXPYLAYERS_NUM_THREADS must be an integer ≥ 1; got '" + text + "'.");
  }
  if (const std::string text = variable("OMP_NUM_THREADS"); !text.empty()) {
    // A list has one number for each level of nested parallelism; this library has one level.
    if (const auto count = positive(std::string_view(text).substr(0, text.find(',')))) return {count, "OMP_NUM_THREADS", ""};
    return {std::nullopt, "", "OMP_NUM_THREADS='" + text + "'"};
  }
  return {};
}

int affinity() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#elif defined(_WIN32)
  DWORD_PTR mine = 0, machine = 0;  // both zero for a process in several groups of 64 processors
  if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &machine) && mine) return std::popcount(std::uint64_t{mine});
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace

std::optional<double> cpu_quota(const std::filesystem::path& root) {
  std::ifstream groups(root / "proc/self/cgroup");
  const fs::path mounts = root / "sys/fs/cgroup";
  double result = unlimited;
  // Lines are hierarchy:controllers:path; version 2 has no controllers.
  for (std::string line; std::getline(groups, line);) {
    std::istringstream fields(line);
    std::string hierarchy, controllers, path;
    std::getline(fields, hierarchy, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, path);
    if (controllers.empty()) result = std::min(result, least(mounts, path, share_2));
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');) {
      if (name != "cpu") continue;
      for (const std::string& mount : {std::string("cpu"), controllers})
        result = std::min(result, least(mounts / mount, path, share_1));
    }
  }
  return std::isfinite(result) ? std::optional(result) : std::nullopt;
}

ThreadCount default_threads() {
  static const Environment environment = read_environment();  // an exception leaves it to the next call
  if (environment.count) return {*environment.count, environment.source, {}};
  static const std::optional<double> quota = cpu_quota();
  const double whole = quota ? std::ceil(*quota) : unlimited;  // a part of a core is worth a thread
  if (const int cores = affinity(); cores <= whole) return {cores, "affinity", environment.ignored};
  return {static_cast<int>(whole), "CPU quota", environment.ignored};
}

}  // namespace cvxl
