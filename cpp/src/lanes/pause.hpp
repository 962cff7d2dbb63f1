#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace cvxl {

// Tells the processor that a thread only waits.
inline void pause() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // about as long as x86's pause; yield is none
#endif
}

}  // namespace cvxl
