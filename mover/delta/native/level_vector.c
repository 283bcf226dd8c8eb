/* The engine with the vectors that every processor of its kind has: SSE2 on x86-64, NEON on ARM64. */
#if defined(__x86_64__) || defined(__aarch64__)
#define DK_LEVEL 1
#ifdef __aarch64__
#define DK_SUFFIX neon
#else
#define DK_SUFFIX sse2
#endif
#include "level.h"
#else
typedef int dk_no_vector;
#endif
