/* The positions of anchors, on what the level can do. Included once by each level. */
#if DK_LEVEL == 1 && defined(__aarch64__)
#include <arm_neon.h>
#elif DK_LEVEL == 1
#include <emmintrin.h>
#endif

#define DK_F0 0x9E2F
#define DK_F1 0x6A8F
#define DK_F2 0xC2CF
#define DK_F3 0xB54F
#define DK_FOUND_SPARE 64u
#define DK_PAD 256u /* what a vector may read behind the last position */

/* hash = 0x7FFF - x is below 2**(16 - bits) where x, as a signed number, is above this. */
#define DK_UNDER(bits) (0x7FFF - (1 << (16 - (bits))))

#if DK_LEVEL == 512

/* Windows grow from 2 to 32 bytes. A vector needs the next one's, so it goes from the end. */
#define DK_FOLD(low, high)                                                                        \
    x = _mm512_add_epi16(_mm512_loadu_si512(low),                                                 \
                         _mm512_mullo_epi16(f0, _mm512_loadu_si512(high)))
#define DK_DOUBLE(next, factor, lanes)                                                            \
    do {                                                                                          \
        __m512i far = _mm512_alignr_epi32(next, x, lanes);                                        \
        next = x;                                                                                 \
        x = _mm512_add_epi16(x, _mm512_mullo_epi16(factor, far));                                 \
    } while (0)

static inline void dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    const __m512i f0 = _mm512_set1_epi16((short)DK_F0), f1 = _mm512_set1_epi16((short)DK_F1);
    const __m512i f2 = _mm512_set1_epi16((short)DK_F2), f3 = _mm512_set1_epi16((short)DK_F3);
    const __m512i under = _mm512_set1_epi16((short)DK_UNDER(bits));
    __m512i e1 = _mm512_setzero_si512(), e2 = e1, e3 = e1, o1 = e1, o2 = e1, o3 = e1, x;
    uint32_t words = (count + 63) / 64;
    for (uint32_t i = words + 1; i-- > 0;) {
        const uint8_t *q = p + 64 * (size_t)i;
        DK_FOLD(q, q + 2);
        DK_DOUBLE(e1, f1, 1);
        DK_DOUBLE(e2, f2, 2);
        DK_DOUBLE(e3, f3, 4);
        __mmask32 even = _mm512_cmpgt_epi16_mask(x, under);
        DK_FOLD(q + 1, q + 3);
        DK_DOUBLE(o1, f1, 1);
        DK_DOUBLE(o2, f2, 2);
        DK_DOUBLE(o3, f3, 4);
        __mmask32 odd = _mm512_cmpgt_epi16_mask(x, under);
        masks[i] = _pdep_u64(even, 0x5555555555555555u) | _pdep_u64(odd, 0xAAAAAAAAAAAAAAAAu);
    }
}

#elif DK_LEVEL == 2

/* The halves of a register go through the halves of the positions, so that a window grows inside its
 * half; a vector needs the next one's, so it goes from the end. */
#define DK_HALF(at) _mm_loadu_si128((const __m128i *)(const void *)(at))
#define DK_LOAD(at) _mm256_inserti128_si256(_mm256_castsi128_si256(DK_HALF(at)), DK_HALF((at) + half), 1)
#define DK_DOUBLE(next, factor, bytes)                                                            \
    do {                                                                                          \
        __m256i far = bytes < 16 ? _mm256_alignr_epi8(next, x, bytes & 15) : next;                \
        next = x;                                                                                 \
        x = _mm256_add_epi16(x, _mm256_mullo_epi16(factor, far));                                 \
    } while (0)

#define DK_STEP(q)                                                                                \
    do {                                                                                          \
        x = DK_LOAD(q);                                                                           \
        DK_DOUBLE(e0, f0, 2);                                                                     \
        DK_DOUBLE(e1, f1, 4);                                                                     \
        DK_DOUBLE(e2, f2, 8);                                                                     \
        DK_DOUBLE(e3, f3, 16);                                                                    \
        __m256i even = _mm256_cmpgt_epi16(x, under);                                              \
        x = DK_LOAD((q) + 1);                                                                     \
        DK_DOUBLE(o0, f0, 2);                                                                     \
        DK_DOUBLE(o1, f1, 4);                                                                     \
        DK_DOUBLE(o2, f2, 8);                                                                     \
        DK_DOUBLE(o3, f3, 16);                                                                    \
        __m256i odd = _mm256_cmpgt_epi16(x, under);                                               \
        uint32_t mask = (uint32_t)_mm256_movemask_epi8(_mm256_blendv_epi8(even, odd, second));    \
        low = low << 16 | (mask & 0xFFFF);                                                        \
        high = high << 16 | mask >> 16;                                                           \
    } while (0)

static inline void dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    const __m256i f0 = _mm256_set1_epi16((short)DK_F0), f1 = _mm256_set1_epi16((short)DK_F1);
    const __m256i f2 = _mm256_set1_epi16((short)DK_F2), f3 = _mm256_set1_epi16((short)DK_F3);
    const __m256i under = _mm256_set1_epi16((short)DK_UNDER(bits));
    const __m256i second = _mm256_set1_epi16((short)0xFF00);
    __m256i e0 = _mm256_setzero_si256(), e1 = e0, e2 = e0, e3 = e0;
    __m256i o0 = e0, o1 = e0, o2 = e0, o3 = e0, x;
    const uint32_t quads = (count + 127) / 128; /* of steps: a word of each half */
    const size_t half = 64 * (size_t)quads;
    uint64_t low = 0, high = 0;
    DK_STEP(p + half + 16); /* for the next ones only: their masks are shifted out */
    DK_STEP(p + half);
    for (uint32_t quad = quads; quad-- > 0;) {
        const uint8_t *q = p + 64 * (size_t)quad;
        DK_STEP(q + 48);
        DK_STEP(q + 32);
        DK_STEP(q + 16);
        DK_STEP(q);
        masks[quad] = low;
        masks[quads + quad] = high;
    }
}

#elif DK_LEVEL == 1 && defined(__aarch64__)

#define DK_DOUBLE(next, factor, lanes)                                                            \
    do {                                                                                          \
        uint16x8_t far = lanes < 8 ? vextq_u16(x, next, lanes & 7) : next;                        \
        next = x;                                                                                 \
        x = vmlaq_n_u16(x, far, factor);                                                          \
    } while (0)
#define DK_STEP(q)                                                                                \
    do {                                                                                          \
        x = vreinterpretq_u16_u8(vld1q_u8(q));                                                    \
        DK_DOUBLE(e0, DK_F0, 1);                                                                  \
        DK_DOUBLE(e1, DK_F1, 2);                                                                  \
        DK_DOUBLE(e2, DK_F2, 4);                                                                  \
        DK_DOUBLE(e3, DK_F3, 8);                                                                  \
        uint16x8_t even = vcgtq_s16(vreinterpretq_s16_u16(x), under);                             \
        x = vreinterpretq_u16_u8(vld1q_u8((q) + 1));                                              \
        DK_DOUBLE(o0, DK_F0, 1);                                                                  \
        DK_DOUBLE(o1, DK_F1, 2);                                                                  \
        DK_DOUBLE(o2, DK_F2, 4);                                                                  \
        DK_DOUBLE(o3, DK_F3, 8);                                                                  \
        uint16x8_t odd = vcgtq_s16(vreinterpretq_s16_u16(x), under);                              \
        uint8x16_t both = vandq_u8(vreinterpretq_u8_u16(vbslq_u16(second, odd, even)), weights);  \
        mask = mask << 16 | (uint64_t)vaddv_u8(vget_high_u8(both)) << 8                           \
            | vaddv_u8(vget_low_u8(both));                                                        \
    } while (0)

static inline void dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    const int16x8_t under = vdupq_n_s16((int16_t)DK_UNDER(bits));
    const uint16x8_t second = vdupq_n_u16(0xFF00);
    const uint8x16_t weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint16x8_t e0 = vdupq_n_u16(0), e1 = e0, e2 = e0, e3 = e0;
    uint16x8_t o0 = e0, o1 = e0, o2 = e0, o3 = e0, x;
    uint64_t mask = 0;
    uint32_t words = (count + 63) / 64;
    DK_STEP(p + 64 * (size_t)words + 16); /* for the next ones only: their masks are shifted out */
    DK_STEP(p + 64 * (size_t)words);
    for (uint32_t word = words; word-- > 0;) {
        const uint8_t *q = p + 64 * (size_t)word;
        DK_STEP(q + 48);
        DK_STEP(q + 32);
        DK_STEP(q + 16);
        DK_STEP(q);
        masks[word] = mask;
    }
}

#elif DK_LEVEL == 1

#define DK_LOAD(at) _mm_loadu_si128((const __m128i *)(const void *)(at))
#define DK_DOUBLE(next, factor, bytes)                                                            \
    do {                                                                                          \
        __m128i far = bytes == 16 ? next                                                          \
                                  : _mm_or_si128(_mm_srli_si128(x, bytes & 15),                   \
                                                 _mm_slli_si128(next, (16 - bytes) & 15));        \
        next = x;                                                                                 \
        x = _mm_add_epi16(x, _mm_mullo_epi16(factor, far));                                       \
    } while (0)
#define DK_STEP(q)                                                                                \
    do {                                                                                          \
        x = DK_LOAD(q);                                                                           \
        DK_DOUBLE(e0, f0, 2);                                                                     \
        DK_DOUBLE(e1, f1, 4);                                                                     \
        DK_DOUBLE(e2, f2, 8);                                                                     \
        DK_DOUBLE(e3, f3, 16);                                                                    \
        __m128i even = _mm_andnot_si128(second, _mm_cmpgt_epi16(x, under));                       \
        x = DK_LOAD((q) + 1);                                                                     \
        DK_DOUBLE(o0, f0, 2);                                                                     \
        DK_DOUBLE(o1, f1, 4);                                                                     \
        DK_DOUBLE(o2, f2, 8);                                                                     \
        DK_DOUBLE(o3, f3, 16);                                                                    \
        __m128i odd = _mm_and_si128(second, _mm_cmpgt_epi16(x, under));                           \
        mask = mask << 16 | (uint32_t)_mm_movemask_epi8(_mm_or_si128(even, odd));                 \
    } while (0)

static inline void dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    const __m128i f0 = _mm_set1_epi16((short)DK_F0), f1 = _mm_set1_epi16((short)DK_F1);
    const __m128i f2 = _mm_set1_epi16((short)DK_F2), f3 = _mm_set1_epi16((short)DK_F3);
    const __m128i under = _mm_set1_epi16((short)DK_UNDER(bits));
    const __m128i second = _mm_set1_epi16((short)0xFF00);
    __m128i e0 = _mm_setzero_si128(), e1 = e0, e2 = e0, e3 = e0;
    __m128i o0 = e0, o1 = e0, o2 = e0, o3 = e0, x;
    uint64_t mask = 0;
    uint32_t words = (count + 63) / 64;
    DK_STEP(p + 64 * (size_t)words + 16); /* for the next ones only: their masks are shifted out */
    DK_STEP(p + 64 * (size_t)words);
    for (uint32_t word = words; word-- > 0;) {
        const uint8_t *q = p + 64 * (size_t)word;
        DK_STEP(q + 48);
        DK_STEP(q + 32);
        DK_STEP(q + 16);
        DK_STEP(q);
        masks[word] = mask;
    }
}

#else

/* Plain C, for any processor. */
static inline void dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    uint16_t x[DK_CELL_BYTES + 2 * 64];
    uint8_t anchor[DK_CELL_BYTES + 64];
    const int16_t under = (int16_t)DK_UNDER(bits);
    uint32_t words = (count + 63) / 64, wide = 64 * words;
    for (uint32_t i = 0; i < wide + 30; i++)
        x[i] = (uint16_t)(p[i] | p[i + 1] << 8);
    for (uint32_t i = 0; i < wide + 28; i++)
        x[i] = (uint16_t)(x[i] + (uint16_t)(DK_F0 * (uint32_t)x[i + 2]));
    for (uint32_t i = 0; i < wide + 24; i++)
        x[i] = (uint16_t)(x[i] + (uint16_t)(DK_F1 * (uint32_t)x[i + 4]));
    for (uint32_t i = 0; i < wide + 16; i++)
        x[i] = (uint16_t)(x[i] + (uint16_t)(DK_F2 * (uint32_t)x[i + 8]));
    for (uint32_t i = 0; i < wide; i++)
        anchor[i] = (int16_t)(uint16_t)(x[i] + (uint16_t)(DK_F3 * (uint32_t)x[i + 16])) > under;
    for (uint32_t word = 0; word < words; word++) {
        uint64_t mask = 0;
        for (uint32_t part = 0; part < 8; part++) {
            uint64_t eight; /* a product gathers one bit of each byte in the top byte */
            memcpy(&eight, anchor + 64 * word + 8 * part, 8);
            if (eight)
                mask |= (eight * 0x0102040810204080u >> 56) << (8 * part);
        }
        masks[word] = mask;
    }
}

#endif

static inline uint32_t dk_lowest(uint64_t mask) {
#if defined(__BMI__)
    return (uint32_t)_tzcnt_u64(mask);
#else
    return mask ? (uint32_t)__builtin_ctzll(mask) : 0;
#endif
}

/* Anchors among the first count positions (at most a cell) of p, of which readable bytes may be
 * read; that is count + 63 or more. The count of them, at most max; found has
 * room for DK_FOUND_SPARE more. */
static inline uint32_t dk_anchors(const uint8_t *p, uint32_t count, uint64_t readable, uint32_t bits,
                                  uint16_t *found, uint32_t max) {
    uint8_t padded[DK_CELL_BYTES + DK_PAD];
    uint64_t masks[DK_CELL_BYTES / 64 + 2];
    uint32_t n = 0, words = (count + 63) / 64;
    if (bits == 0) { /* every position of the smallest blocks */
        for (; n < count && n < max; n++)
            found[n] = (uint16_t)n;
        return n;
    }
    if (readable < count + DK_PAD) {
        memcpy(padded, p, readable);
        memset(padded + readable, 0, sizeof padded - readable);
        p = padded;
    }
    dk_masks(p, count, bits, masks);
    if (count & 63)
        masks[words - 1] &= (UINT64_C(1) << (count & 63)) - 1;
    for (uint32_t word = 0; word < words && n < max; word++) {
        uint64_t mask = masks[word];
        uint32_t end = n + (uint32_t)__builtin_popcountll(mask);
        found[n] = (uint16_t)(64 * word + dk_lowest(mask)); /* most words have no more than two: */
        mask &= mask - 1;                                   /* no branch to guess */
        found[n + 1] = (uint16_t)(64 * word + dk_lowest(mask));
        for (n += 2; n < end; n++) {
            mask &= mask - 1;
            found[n] = (uint16_t)(64 * word + dk_lowest(mask));
        }
        n = end;
    }
    return n < max ? n : max;
}
