#pragma once
#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "cvxl/engine.hpp"
#include "domain.hpp"

namespace cvxl {

// Compiled XLA programs name a problem by a number made from its content, never by an address: a program from a cache, or one
// exported by another process, then finds an engine of the same problem here, or a clear error.
void publish(std::int64_t key, const std::shared_ptr<const Engine>& engine, std::vector<Domain> domains, Tolerances tolerances);

// Handlers by target name, for jax.ffi.register_ffi_target.
nanobind::dict xla_handlers();

}  // namespace cvxl
