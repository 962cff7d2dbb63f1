// A build without nvcc.

#include "cuda/images.hpp"

namespace cvxl::cuda {

const unsigned char* const solve_image = nullptr;
const unsigned char* const again_image = nullptr;
const unsigned char* const adjoint_image = nullptr;

}  // namespace cvxl::cuda
