#pragma once
// What a handler on the host needs of XLA's foreign function interface: a C ABI, major version 0. Within a major version structs
// and enumerations only grow at their ends, and XLA accepts handlers of every earlier minor version it still supports. With the
// layouts here, every build has handlers, whatever jaxlib it meets and whether or not one was there when it was built; where
// jaxlib's headers are found, cpp/tests/test_xla_abi.cpp compares the two.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cvxl::xla {

constexpr int major_version = 0, minor_version = 3;

enum class Type : std::int32_t { boolean = 1, int64 = 5, float32 = 11, float64 = 12 };
enum class AttributeType : std::int32_t { array = 1, scalar = 3 };
enum class ErrorCode : std::int32_t { invalid_argument = 3 };

// Layouts, in the order of the ABI.
namespace abi {

struct Extension {
  std::size_t struct_size;
  std::int32_t type;
  Extension* next;
};
constexpr std::int32_t metadata_extension = 1;

struct Version {
  std::size_t struct_size;
  Extension* extensions;
  std::int32_t major, minor;
};

struct Error;  // XLA's own

struct ErrorRequest {
  std::size_t struct_size;
  Extension* extensions;
  const char* message;
  ErrorCode code;
};

struct Api {  // begins with these
  std::size_t struct_size;
  Extension* extensions;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorRequest*);
};

struct Buffer {
  std::size_t struct_size;
  Extension* extensions;
  Type type;
  void* data;
  std::int64_t rank;
  std::int64_t* dimensions;
};

struct Name {
  const char* data;
  std::size_t size;
};

struct Scalar {
  Type type;
  void* value;
};

struct Array {
  Type type;
  std::size_t size;
  void* data;
};

struct Buffers {  // arguments or results; all are buffers
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  std::int32_t* types;
  Buffer** items;
};

struct Attributes {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  AttributeType* types;
  Name** names;
  void** items;
};

struct CallFrame {
  std::size_t struct_size;
  Extension* extensions;
  const Api* api;
  void* context;
  std::int32_t stage;
  Buffers arguments, results;
  Attributes attributes;
  void* future;
};

struct Metadata {
  std::size_t struct_size;
  Version version;
  std::uint32_t traits;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

}  // namespace abi

// An array in memory, dense and in C order.
class Buffer {
 public:
  explicit Buffer(const abi::Buffer& buffer) : buffer_(&buffer) {}

  Type type() const { return buffer_->type; }
  void* data() const { return buffer_->data; }
  std::span<const std::int64_t> dimensions() const { return {buffer_->dimensions, static_cast<std::size_t>(buffer_->rank)}; }
  std::size_t size() const {
    return static_cast<std::size_t>(
        std::accumulate(dimensions().begin(), dimensions().end(), std::int64_t{1}, std::multiplies<>()));
  }

 private:
  const abi::Buffer* buffer_;
};

// What a custom call is given. Everything lives until the handler returns; what is not there throws std::invalid_argument.
class Call {
 public:
  explicit Call(const abi::CallFrame& frame) : frame_(&frame) {}

  std::size_t arguments() const { return static_cast<std::size_t>(frame_->arguments.size); }
  std::size_t results() const { return static_cast<std::size_t>(frame_->results.size); }
  Buffer argument(std::size_t i) const { return at(frame_->arguments, i); }
  Buffer result(std::size_t i) const { return at(frame_->results, i); }

  bool has(std::string_view name) const { return find(name) < frame_->attributes.size; }
  std::int64_t integer(std::string_view name) const { return scalar<std::int64_t>(name, Type::int64); }
  double number(std::string_view name) const { return scalar<double>(name, Type::float64); }
  bool flag(std::string_view name) const { return scalar<bool>(name, Type::boolean); }
  std::span<const std::int64_t> integers(std::string_view name) const { return array<std::int64_t>(name, Type::int64); }
  std::span<const double> numbers(std::string_view name) const { return array<double>(name, Type::float64); }

 private:
  static Buffer at(const abi::Buffers& buffers, std::size_t i) {
    if (i >= static_cast<std::size_t>(buffers.size)) throw std::invalid_argument("a custom call has too few operands");
    return Buffer(*buffers.items[i]);
  }
  std::int64_t find(std::string_view name) const {
    std::int64_t i = 0;
    while (i < frame_->attributes.size &&
           std::string_view(frame_->attributes.names[i]->data, frame_->attributes.names[i]->size) != name)
      ++i;
    return i;
  }
  template <class Layout>
  const Layout& attribute(std::string_view name, AttributeType kind, Type type) const {
    const std::int64_t i = find(name);
    if (i < frame_->attributes.size && frame_->attributes.types[i] == kind)
      if (const auto& found = *static_cast<const Layout*>(frame_->attributes.items[i]); found.type == type) return found;
    throw std::invalid_argument("a custom call has no attribute '" + std::string(name) + "' of the right type");
  }
  template <class T>
  std::span<const T> array(std::string_view name, Type type) const {
    const auto& found = attribute<abi::Array>(name, AttributeType::array, type);
    return {static_cast<const T*>(found.data), found.size};
  }
  template <class T>
  T scalar(std::string_view name, Type type) const {
    return *static_cast<const T*>(attribute<abi::Scalar>(name, AttributeType::scalar, type).value);
  }

  const abi::CallFrame* frame_;
};

// `body` as XLA calls it: exceptions become XLA's errors. Asked for its metadata, a handler names the version of the ABI that it
// speaks: the framework's where that is older.
template <void (*body)(const Call&)>
abi::Error* handler(abi::CallFrame* frame) {
  for (abi::Extension* e = frame->extensions; e; e = e->next)
    if (e->type == abi::metadata_extension) {
      auto& version = reinterpret_cast<abi::MetadataExtension*>(e)->metadata->version;
      version.major = major_version;
      version.minor = std::min(minor_version, frame->api->version.minor);
      return nullptr;
    }
  try {
    body(Call(*frame));
    return nullptr;
  } catch (const std::exception& error) {
    abi::ErrorRequest request{sizeof(request), nullptr, error.what(), ErrorCode::invalid_argument};
    return frame->api->create_error(&request);
  }
}

}  // namespace cvxl::xla
