#pragma once
// What is known of a problem before its numbers are: computed once, read by every call.
//
// Kernels of every instruction set include this. An inline function out here of which two of them keep a copy is merged by the
// linker, and the baseline may then run code of another set: what is not inlined by force or trivially stands in a source file. A
// test of the objects (cpp/tests/own_symbols.cmake) holds the rule.

#include <vector>

#include "cvxl/engine.hpp"
#include "plan/plan_view.hpp"

namespace cvxl {

// The map M, ready to be applied to one instance: value v = Σ_t coefficient_t · parameter[t][offset_t], the constant 1 being the
// last "parameter". The terms are always added in the same order, and only by the kernels (one contraction of multiply and add),
// so a value does not depend on which parameters are shared.
struct ValueMap {
  struct Term {
    Index parameter, offset;
    double coefficient;
  };
  std::vector<Index> begin;  // values + 1
  std::vector<Term> terms;

  ValueMap() = default;
  explicit ValueMap(const Problem& problem);

  // Inlined by force: a copy shared between the kernels of several instruction sets could be any one's.
  [[gnu::always_inline]] double operator()(Index value, const double* const* parameters) const {
    const Term* t = terms.data() + begin[value];
    const Term* end = terms.data() + begin[value + 1];
    double sum = 0.0;
    for (; t != end; ++t) sum += t->coefficient * parameters[t->parameter][t->offset];
    return sum;
  }
};

// The numbers of a matrix, in the plan's order, as far as each is one term of M: in runs of one parameter at offsets of one stride,
// so that a dense row of a parameter is one run, and neighbouring constants are.
struct MatrixTerms {
  struct Run {
    Index first, count, parameter, offset, stride;
  };
  std::vector<Run> runs;
  std::vector<double> coefficient;  // by entry
  std::vector<Index> others;        // entries that are not one term

  MatrixTerms(const ValueMap& map, const std::vector<Index>& source);
};

// Column-compressed maps for the adjoint: entry e of parameter i receives Σ coefficient · cotangent(value).
struct Transpose {
  std::vector<Index> begin;
  std::vector<Index> row;
  std::vector<double> coefficient;
};

// What an entry of the value vector is, in internal variables.
struct Place {
  enum Kind : std::uint8_t { P, q, A, b, d };
  Kind kind;
  Index row, column;
};

struct Compiled {
  Problem problem;
  Plan plan;
  PlanView view;                         // of the plan, for kernels
  ValueMap values;
  MatrixTerms P_terms, A_terms;
  std::vector<Place> place;              // by index into the value vector
  Transpose M_transpose;                 // by column of M, the constant excluded
  std::vector<Index> parameter_begin;    // parameter → first column; one more at the end
  Transpose R_transpose;                 // by entry of (x, z)

  Compiled(Problem p);
};

// Where the parameters of an instance lie.
class Locator {
 public:
  Locator(const Compiled& compiled, const BatchView& batch, double constant);

  // Pointers to each parameter of the instance and, last, to the constant.
  void locate(std::int64_t instance, const double** pointers) const;
  // Whether the value is the same in every instance.
  bool shared(Index value) const { return shared_[static_cast<std::size_t>(value)] != 0; }
  // The entries of P or A, of which `source` gives the values, that are not.
  std::vector<Index> varying(const std::vector<Index>& source) const;
  std::int64_t size() const { return size_; }

 private:
  const BatchView& batch_;
  std::int64_t size_;
  double constant_;
  std::vector<double> zeros_;
  std::vector<std::uint8_t> shared_;
};

}  // namespace cvxl
