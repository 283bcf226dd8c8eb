/* The engine with AVX512, in a build for any processor: dispatch.c chooses it where it can run. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,lzcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,lzcnt")
#endif
#define XXH_VECTOR XXH_AVX512
#define DK_LEVEL 512
#define DK_SUFFIX avx512
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int dk_no_avx512;
#endif
