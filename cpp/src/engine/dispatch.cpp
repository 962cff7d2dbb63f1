#include <cstdlib>
#include <stdexcept>

#include "engine/job.hpp"
#include "lanes/processor.hpp"

namespace cvxl {

#define CVXL_DECLARE(isa)  \
  namespace isa {          \
  const Kernels& single(); \
  const Kernels& pair();   \
  const Kernels& narrow(); \
  const Kernels& wide();   \
  }
CVXL_DECLARE(baseline)
CVXL_DECLARE(avx2)
CVXL_DECLARE(avx512)

namespace {

struct Choice {
  const char* name;
  bool runs;
  const Kernels& (*single)();
  const Kernels& (*pair)();
  const Kernels& (*narrow)();
  const Kernels& (*wide)();
};

const std::vector<Choice>& choices() {
  static const std::vector<Choice> all = [] {
    std::vector<Choice> list;
#if CVXL_AVX512
    list.push_back({"avx512", runs_level(4), avx512::single, avx512::pair, avx512::narrow, avx512::wide});
#endif
#if CVXL_AVX2
    list.push_back({"avx2", runs_level(3), avx2::single, avx2::pair, avx2::narrow, avx2::wide});
#endif
#if CVXL_BASELINE
    list.push_back({"baseline", true, baseline::single, baseline::pair, baseline::narrow, baseline::wide});
#endif
    return list;
  }();
  return all;
}

// Read at every compilation of a problem, so that a test can switch it.
const Choice& chosen() {
  const char* forced = std::getenv("CVXPYLAYERS_ISA");
  for (const Choice& choice : choices())
    if (choice.runs && (!forced || !*forced || std::string(forced) == choice.name)) return choice;
  std::string known;
  for (const Choice& choice : choices())
    if (choice.runs) known += (known.empty() ? "" : ", ") + std::string(choice.name);
  if (known.empty())
    throw std::invalid_argument("This build has no kernels that this machine runs: build with CMAKE_ARGS=-DCVXL_SETS=baseline.");
  throw std::invalid_argument("The environment variable CVXPYLAYERS_ISA must be one of " + known +
                              ", which this machine runs, or unset; got '" + forced + "'.");
}

}  // namespace

const Kernels& find_kernels(int width) {
  const Choice& choice = chosen();
  if (width == 1) return choice.single();
  return width == 2 ? choice.pair() : width == 4 ? choice.narrow() : choice.wide();
}

std::vector<std::string> available_instruction_sets() {
  std::vector<std::string> names;
  for (const Choice& choice : choices())
    if (choice.runs) names.emplace_back(choice.name);
  return names;
}

}  // namespace cvxl
