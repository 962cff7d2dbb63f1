// Runs the tests whose name contains the first argument, all without one.

#include <cstring>
#include <exception>

#include "test.hpp"

int main(int argc, char** argv) {
  using namespace cvxl::testing;
  int ran = 0, failed = 0;
  for (const Test& test : tests()) {
    if (argc > 1 && !std::strstr(test.name, argv[1])) continue;
    const long before = failures;
    try {
      test.run();
    } catch (const std::exception& error) {
      ++failures;
      std::fprintf(stderr, "%s\n", error.what());
    }
    ++ran;
    if (failures == before) continue;
    ++failed;
    std::fprintf(stderr, "FAILED %s\n", test.name);
  }
  std::printf("%d tests, %ld checks, %d tests failed\n", ran, checks.load(), failed);
  return failed || !ran;
}
