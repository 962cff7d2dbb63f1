// How many threads a call gets: quotas of control groups, from files as the kernel writes them.

#include <fstream>
#include <map>
#include <random>
#include <string>

#include "cvxl/threads.hpp"
#include "test.hpp"

using namespace cvxl;
namespace fs = std::filesystem;

namespace {

struct Case {
  const char* name;
  std::map<std::string, std::string> files;
  double quota;  // 0: none
};

const Case cases[] = {
    {"no control groups", {}, 0},
    {"version 2, no limit", {{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "max 100000\n"}}, 0},
    {"version 2, in a container", {{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/cpu.max", "250000 100000\n"}}, 2.5},
    {"version 2, in a group", {{"proc/self/cgroup", "0::/a/b\n"}, {"sys/fs/cgroup/a/b/cpu.max", "50000 100000\n"}}, 0.5},
    {"version 2, a group above",
     {{"proc/self/cgroup", "0::/a/b\n"},
      {"sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
      {"sys/fs/cgroup/a/cpu.max", "300000 100000\n"}},
     3},
    {"version 2, the least of all",
     {{"proc/self/cgroup", "0::/a/b\n"},
      {"sys/fs/cgroup/a/b/cpu.max", "800000 100000\n"},
      {"sys/fs/cgroup/a/cpu.max", "200000 50000\n"}},
     4},
    {"version 1, no limit",
     {{"proc/self/cgroup", "4:cpu,cpuacct:/\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
     0},
    {"version 1, in a container with the host's path",
     {{"proc/self/cgroup", "12:memory:/docker/f\n4:cpuacct,cpu:/docker/f\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
     1.5},
    {"version 1, mounted under both controllers' names",
     {{"proc/self/cgroup", "4:cpu,cpuacct:/job\n"},
      {"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "400000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"}},
     4},
    {"version 1, another controller", {{"proc/self/cgroup", "4:cpuset:/\n"}, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "1\n"}}, 0},
    {"both versions",
     {{"proc/self/cgroup", "1:cpu:/\n0::/\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "700000\n"},
      {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}},
     7},
    {"nonsense", {{"proc/self/cgroup", "what\n0::/\n"}, {"sys/fs/cgroup/cpu.max", "many few\n"}}, 0},
};

}  // namespace

TEST(quotas_are_read_from_control_groups) {
  const fs::path room = fs::temp_directory_path() / ("cvxl_threads_" + std::to_string(std::random_device()()));
  for (const Case& c : cases) {
    fs::remove_all(room);
    for (const auto& [name, text] : c.files) {
      fs::create_directories((room / name).parent_path());
      std::ofstream(room / name) << text;
    }
    const double found = cpu_quota(room).value_or(0.0);
    CHECK_NEAR(found, c.quota, 0.0);
    if (found != c.quota) std::fprintf(stderr, "  %s\n", c.name);
  }
  fs::remove_all(room);
}
