#pragma once
// The kernels, compiled for every device that is supported; null in a build without nvcc.

namespace cvxl::cuda {

extern const unsigned char* const solve_image;
extern const unsigned char* const adjoint_image;

}  // namespace cvxl::cuda
