#pragma once
// Bytes that are an argument of a kernel, of which all together have at most 4096.

namespace cvxl::cuda {

struct Payload {
  unsigned char bytes[2048];
};

}  // namespace cvxl::cuda
