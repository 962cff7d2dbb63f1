#pragma once
// The cone of each kind: the one place that lists them.

#include <tuple>

#include "cones/exponential.hpp"
#include "cones/large_semidefinite.hpp"
#include "cones/power.hpp"
#include "cones/second_order.hpp"
#include "cones/semidefinite.hpp"
#include "cones/three_dimensional.hpp"

namespace cvxl::CVXL_ISA {

// Of<block type of each Cone::Kind, in their order>.
template <class V, template <class...> class Of>
using Kinds =
    Of<SecondOrder<V>, Semidefinite<V>, ThreeDimensional<V, Exponential<V>>, ThreeDimensional<V, Power<V>>, LargeSemidefinite<V>>;

template <class... Block>
struct KindList {
  static_assert(sizeof...(Block) == Cone::kinds);

  // f(std::type_identity<block type>) of the kind.
  template <class F>
  static CVXL_INLINE void with(Cone::Kind kind, F&& f) {
    std::size_t k = 0;
    ((kind == k++ ? f(std::type_identity<Block>{}) : void()), ...);
  }
};

template <class V, class F>
CVXL_INLINE void with_kind(Cone::Kind kind, F&& f) {
  Kinds<V, KindList>::with(kind, f);
}

}  // namespace cvxl::CVXL_ISA
