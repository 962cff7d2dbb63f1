#include "domain.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

namespace cvxl {
namespace {

// Whether ±(v + v')/2 has an eigenvalue below -slack times 1 or its Frobenius norm: by a shifted Cholesky factorization, in scratch
// L.
bool indefinite(const double* v, const Domain& domain, double slack, std::vector<double>& L) {
  const Index k = domain.side;
  L.resize(k * k);
  double squares = 0.0;
  for (Index i = 0; i < k; ++i)
    for (Index j = 0; j <= i; ++j) {
      L[i * k + j] = 0.5 * domain.psd * v[i * k + j] + 0.5 * domain.psd * v[j * k + i];
      squares += (i == j ? 1.0 : 2.0) * L[i * k + j] * L[i * k + j];
    }
  const double shift = slack * std::max(1.0, std::sqrt(squares));
  for (Index j = 0; j < k; ++j) {
    if (domain.quadratic) {  // engines judge the whole
      if (L[j * k + j] < -shift) return true;
      continue;
    }
    for (Index i = j; i < k; ++i) {
      double sum = L[i * k + j] + (i == j ? shift : 0.0);
      for (Index c = 0; c < j; ++c) sum -= L[i * k + c] * L[j * k + c];
      if (i == j && !(sum > 0.0)) return true;
      L[i * k + j] = i == j ? std::sqrt(sum) : sum / L[j * k + j];
    }
  }
  return false;
}

// Folds `step` over the entries from 0.0, and `join` over the results of eight interleaved parts, which need not wait for each
// other.
template <class Step, class Join>
double fold(std::span<const double> v, Step step, Join join) {
  constexpr std::size_t parts = 8;
  double part[parts]{};
  std::size_t e = 0;
  for (; e + parts <= v.size(); e += parts)
    for (std::size_t k = 0; k < parts; ++k) part[k] = step(part[k], v[e + k]);
  for (; e < v.size(); ++e) part[0] = step(part[0], v[e]);
  for (std::size_t k = 1; k < parts; ++k) part[0] = join(part[0], part[k]);
  return part[0];
}

bool any_nan(std::span<const double> v) {
  return std::any_of(v.begin(), v.end(), [](double x) { return std::isnan(x); });
}

bool finite(std::span<const double> v) {
  return fold(v, [](double sum, double x) { return sum + (x - x); }, std::plus<double>()) == 0.0;
}

// Mirrors cvxpylayers._layer.inputs.screen, for one instance's entries, which are known to `rounding`.
bool violates(const double* v, Index size, const Domain& domain, const Tolerances& tolerances, double rounding,
              std::vector<double>& scratch) {
  const std::span<const double> all{v, static_cast<std::size_t>(size)};
  if (domain.unbounded ? any_nan(all) : !finite(all)) return true;
  double least = 0.0, skew = 0.0;
  if (domain.sign)
    least = fold(
        all, [&](double low, double x) { return std::min(low, domain.sign * x); },
        [](double a, double b) { return std::min(a, b); });
  for (std::size_t e = 0; e < domain.low.size(); ++e)
    if (v[e] < domain.low[e]) least = std::min(least, v[e] - domain.low[e]);
  for (std::size_t e = 0; e < domain.high.size(); ++e)
    if (v[e] > domain.high[e]) least = std::min(least, domain.high[e] - v[e]);
  for (const Index e : domain.zeros) least = std::min(least, -std::abs(v[e]));
  for (Index i = 0; i < domain.side; ++i)
    for (Index j = 0; j < i; ++j) skew = std::max(skew, 0.5 * std::abs(v[i * domain.side + j] - v[j * domain.side + i]));
  const double slack = std::max(tolerances.slack, rounding);
  if (least < -slack || skew > 0.0) {
    const double largest = fold(
        all, [](double high, double x) { return std::isinf(x) ? high : std::max(high, std::abs(x)); },
        [](double a, double b) { return std::max(a, b); });
    if (least < -slack * std::max(1.0, largest) || skew > tolerances.skew * largest) return true;
  }
  return domain.psd && indefinite(v, domain, std::max(tolerances.definite_slack, rounding), scratch);
}

}  // namespace

std::vector<std::uint8_t> screen(std::span<const std::span<const double>> arrays, const BatchView& batch,
                                 const std::vector<Index>& sizes, const std::vector<Domain>& domains, const Tolerances& tolerances,
                                 std::span<const double> rounding) {
  std::vector<std::uint8_t> invalid;
  std::vector<double> scratch;
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const std::span<const double> all = arrays[i];
    if (domains[i].whole() && finite(all)) continue;
    const std::int64_t size = sizes[i], rows = size ? static_cast<std::int64_t>(all.size()) / size : 0;
    std::vector<std::uint8_t> bad;
    for (std::int64_t r = 0; r < rows; ++r)
      if (violates(all.data() + r * size, sizes[i], domains[i], tolerances, rounding[i], scratch)) {
        bad.resize(rows, 0);
        bad[r] = 1;
      }
    if (bad.empty()) continue;
    invalid.resize(batch.size(), 0);
    for (std::int64_t b = 0; b < batch.size(); ++b) {
      std::int64_t rest = b, offset = 0;
      for (std::size_t k = batch.shape.size(); k-- > 0; rest /= batch.shape[k])
        offset += rest % batch.shape[k] * batch.parameters[i].strides[k];
      invalid[b] |= bad[offset / size];
    }
  }
  return invalid;
}

}  // namespace cvxl
