// The layouts of cpp/bindings/xla_abi.hpp against those of the header that jaxlib ships.

#include "../bindings/xla_abi.hpp"
#include "test.hpp"
#include "xla/ffi/api/c_api.h"

namespace abi = cvxl::xla::abi;
using cvxl::xla::AttributeType, cvxl::xla::ErrorCode, cvxl::xla::Type;

#define SAME(ours, field, theirs, their_field)                                   \
  CHECK(offsetof(abi::ours, field) == offsetof(XLA_FFI_##theirs, their_field) && \
        sizeof(abi::ours::field) == sizeof(XLA_FFI_##theirs::their_field))
#define HEAD(ours, theirs) SAME(ours, struct_size, theirs, struct_size), SAME(ours, extensions, theirs, extension_start)

TEST(layouts_of_xla) {
  CHECK(cvxl::xla::major_version == XLA_FFI_API_MAJOR && cvxl::xla::minor_version <= XLA_FFI_API_MINOR);
  SAME(Extension, struct_size, Extension_Base, struct_size), SAME(Extension, type, Extension_Base, type),
      SAME(Extension, next, Extension_Base, next);
  HEAD(Version, Api_Version), SAME(Version, major, Api_Version, major_version), SAME(Version, minor, Api_Version, minor_version);
  HEAD(ErrorRequest, Error_Create_Args), SAME(ErrorRequest, message, Error_Create_Args, message),
      SAME(ErrorRequest, code, Error_Create_Args, errc);
  CHECK(sizeof(abi::ErrorRequest) == sizeof(XLA_FFI_Error_Create_Args));
  HEAD(Api, Api), SAME(Api, version, Api, api_version), SAME(Api, internal, Api, internal_api);
  SAME(Api, create_error, Api, XLA_FFI_Error_Create);
  HEAD(Buffer, Buffer), SAME(Buffer, type, Buffer, dtype), SAME(Buffer, data, Buffer, data), SAME(Buffer, rank, Buffer, rank);
  SAME(Buffer, dimensions, Buffer, dims);
  SAME(Name, data, ByteSpan, ptr), SAME(Name, size, ByteSpan, len), SAME(Scalar, type, Scalar, dtype),
      SAME(Scalar, value, Scalar, value);
  SAME(Array, type, Array, dtype), SAME(Array, size, Array, size), SAME(Array, data, Array, data);
  HEAD(Buffers, Args), SAME(Buffers, size, Args, size), SAME(Buffers, types, Args, types), SAME(Buffers, items, Args, args);
  HEAD(Buffers, Rets), SAME(Buffers, size, Rets, size), SAME(Buffers, types, Rets, types), SAME(Buffers, items, Rets, rets);
  HEAD(Attributes, Attrs), SAME(Attributes, size, Attrs, size), SAME(Attributes, types, Attrs, types),
      SAME(Attributes, names, Attrs, names);
  SAME(Attributes, items, Attrs, attrs);
  HEAD(CallFrame, CallFrame), SAME(CallFrame, api, CallFrame, api), SAME(CallFrame, context, CallFrame, ctx),
      SAME(CallFrame, stage, CallFrame, stage);
  SAME(CallFrame, arguments, CallFrame, args), SAME(CallFrame, results, CallFrame, rets),
      SAME(CallFrame, attributes, CallFrame, attrs);
  SAME(CallFrame, future, CallFrame, future);
  SAME(Metadata, struct_size, Metadata, struct_size), SAME(Metadata, version, Metadata, api_version),
      SAME(Metadata, traits, Metadata, traits);
  SAME(MetadataExtension, base, Metadata_Extension, extension_base),
      SAME(MetadataExtension, metadata, Metadata_Extension, metadata);
}

TEST(numbers_of_xla) {
  const auto same = [](auto ours, int theirs) { CHECK(static_cast<int>(ours) == theirs); };
  same(Type::boolean, XLA_FFI_DataType_PRED), same(Type::int64, XLA_FFI_DataType_S64);
  same(Type::float32, XLA_FFI_DataType_F32), same(Type::float64, XLA_FFI_DataType_F64);
  same(AttributeType::array, XLA_FFI_AttrType_ARRAY), same(AttributeType::scalar, XLA_FFI_AttrType_SCALAR);
  same(ErrorCode::invalid_argument, XLA_FFI_Error_Code_INVALID_ARGUMENT);
  same(abi::metadata_extension, XLA_FFI_Extension_Metadata);
}
