#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace cvxl {

// Tells the processor that a thread only waits.
inline void pause() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

}  // namespace cvxl
