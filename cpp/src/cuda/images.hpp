#pragma once
// The kernels, compiled for every device that is supported; null in a build without nvcc.

namespace cvxl::cuda {

extern const unsigned char* const solve_image;
extern const unsigned char* const again_image;
extern const unsigned char* const adjoint_image;

// What to say in such a build.
inline constexpr const char* no_kernels =
    "this build of cvxpylayers has no kernels for devices: build it where nvcc is, with "
    "CMAKE_ARGS=-DCVXL_CUDA=ON pip install --no-binary cvxpylayers cvxpylayers, or solve on the host: "
    "solver_args={'device': 'cpu'}";

}  // namespace cvxl::cuda
