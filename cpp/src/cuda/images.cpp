// What nvcc and bin2c made of the kernels.

#include "cuda/images.hpp"

extern "C" {
#include "cvxl_adjoint_image.h"
#include "cvxl_again_image.h"
#include "cvxl_solve_image.h"
}

namespace cvxl::cuda {

const unsigned char* const solve_image = reinterpret_cast<const unsigned char*>(cvxl_solve_image);
const unsigned char* const again_image = reinterpret_cast<const unsigned char*>(cvxl_again_image);
const unsigned char* const adjoint_image = reinterpret_cast<const unsigned char*>(cvxl_adjoint_image);

}  // namespace cvxl::cuda
