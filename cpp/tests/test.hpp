#pragma once
// A registry of tests: TEST(name) { CHECK(condition); CHECK_NEAR(a, b, tolerance); }. Checks may run on any thread.

#include <atomic>
#include <cmath>
#include <cstdio>
#include <vector>

namespace cvxl::testing {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline std::atomic<long> checks{0}, failures{0};

inline void check(bool passed, const char* file, int line, const char* what) {
  ++checks;
  if (!passed && ++failures <= 50) std::fprintf(stderr, "%s:%d: %s\n", file, line, what);
}

inline void check_near(double a, double b, double tolerance, const char* file, int line, const char* what) {
  ++checks;
  if (!(std::abs(a - b) <= tolerance) && ++failures <= 50)
    std::fprintf(stderr, "%s:%d: %s: %.17g and %.17g differ by %.2e > %.2e\n", file, line, what, a, b, std::abs(a - b), tolerance);
}

struct Register {
  Register(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

}  // namespace cvxl::testing

#define TEST(name)                                                          \
  static void test_##name();                                                \
  static const cvxl::testing::Register register_##name(#name, test_##name); \
  static void test_##name()
#define CHECK(condition) cvxl::testing::check((condition), __FILE__, __LINE__, #condition)
#define CHECK_NEAR(a, b, tolerance) cvxl::testing::check_near((a), (b), (tolerance), __FILE__, __LINE__, #a " ~ " #b)
