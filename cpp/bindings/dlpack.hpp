#pragma once
// DLPack's table of C functions by which libraries exchange arrays (dlpack.h, 1.3), as far as it is used here.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

namespace cvxl::dlpack {

namespace nb = nanobind;
using Tensor = nb::dlpack::dltensor;

struct Version {
  std::uint32_t major, minor;
};

struct Managed {
  Version version;
  void* context;
  void (*deleter)(Managed*);
  std::uint64_t flags;
  Tensor tensor;
};

// Functions return 0, or -1 with Python's error set.
struct Exchange {
  Version version;
  const void* previous;
  void* allocate;
  void* share;
  int (*adopt)(Managed*, PyObject**);  // makes an array that owns the memory
  int (*look)(PyObject*, Tensor*);     // what it says lasts as long as the array; may be null
  void* stream;

  // The table of an array's type; null without one.
  static const Exchange* of(nb::handle array) {
    static PyObject* const name = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
    const nb::object capsule = nb::steal(PyObject_GetAttr(array.type().ptr(), name));
    const auto* table =
        static_cast<const Exchange*>(capsule.is_valid() ? PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api") : nullptr);
    if (!table) PyErr_Clear();
    return table && table->version.major == 1 && table->look ? table : nullptr;
  }

  // A new array of doubles and its memory, one block behind the description of it.
  std::pair<nb::object, double*> make(std::span<const std::int64_t> shape) const {
    constexpr std::align_val_t line{64};
    const std::size_t axes = shape.size(), lead = (sizeof(Managed) + 2 * axes * sizeof(std::int64_t) + 63) / 64 * 64;
    std::int64_t size = 1;
    for (const std::int64_t length : shape) size *= length;
    auto* block = static_cast<std::byte*>(::operator new(lead + static_cast<std::size_t>(size) * sizeof(double), line));
    auto* lengths = reinterpret_cast<std::int64_t*>(block + sizeof(Managed));
    size = 1;
    for (std::size_t k = axes; k-- > 0; size *= shape[k]) {
      lengths[k] = shape[k];
      lengths[axes + k] = size;
    }
    auto* data = reinterpret_cast<double*>(block + lead);
#if defined(__linux__)
    // Large arrays on huge pages, where the system has them, as those of NumPy.
    if (constexpr std::size_t page = 4096, large = 1 << 22; static_cast<std::size_t>(size) * sizeof(double) >= large)
      madvise(reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page),
              size * sizeof(double) - page, MADV_HUGEPAGE);
#endif
    const Tensor tensor{
        data, {nb::device::cpu::value, 0}, static_cast<std::int32_t>(axes), nb::dtype<double>(), lengths, lengths + axes, 0};
    auto* managed = new (block) Managed{version, nullptr, [](Managed* self) { ::operator delete(self, line); }, 0, tensor};
    PyObject* array = nullptr;
    if (adopt(managed, &array) != 0) throw nb::python_error();
    return {nb::steal(array), data};
  }
};

}  // namespace cvxl::dlpack
