/* Which engines this processor can run. */
#include "delta.h"

const dk_engine *dk_engine_at(int rank) {
    const dk_engine *engines[5] = {0};
    int count = 0;
#ifdef DK_X86
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
    if (avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq"))
        engines[count++] = &dk_engine_avx512;
    if (avx2)
        engines[count++] = &dk_engine_avx2;
#endif
#if defined(__x86_64__)
    engines[count++] = &dk_engine_sse2;
#elif defined(__aarch64__)
    engines[count++] = &dk_engine_neon;
#endif
    engines[count++] = &dk_engine_scalar;
    return rank >= 0 && rank < count ? engines[rank] : NULL;
}
