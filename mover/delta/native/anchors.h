/* The positions of anchors, on what the level can do. Included once by each level. */

#define DK_F0 0x9E2F
#define DK_F1 0x6A8F
#define DK_F2 0xC2CF
#define DK_F3 0xB54F
#define DK_PAD 256u /* what a vector may read behind the last position */

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

static inline uint32_t dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    const __m512i f0 = _mm512_set1_epi16((short)DK_F0), f1 = _mm512_set1_epi16((short)DK_F1);
    const __m512i f2 = _mm512_set1_epi16((short)DK_F2), f3 = _mm512_set1_epi16((short)DK_F3);
    const __m512i least = _mm512_set1_epi16((short)(0xFFFFu << (16 - bits)));
    __m512i e1 = _mm512_setzero_si512(), e2 = e1, e3 = e1, o1 = e1, o2 = e1, o3 = e1, x;
    uint32_t words = (count + 63) / 64;
    for (uint32_t i = words + 1; i-- > 0;) {
        const uint8_t *q = p + 64 * (size_t)i;
        DK_FOLD(q, q + 2);
        DK_DOUBLE(e1, f1, 1);
        DK_DOUBLE(e2, f2, 2);
        DK_DOUBLE(e3, f3, 4);
        __mmask32 even = _mm512_cmpge_epu16_mask(x, least);
        DK_FOLD(q + 1, q + 3);
        DK_DOUBLE(o1, f1, 1);
        DK_DOUBLE(o2, f2, 2);
        DK_DOUBLE(o3, f3, 4);
        __mmask32 odd = _mm512_cmpge_epu16_mask(x, least);
        masks[i] = _pdep_u64(even, 0x5555555555555555u) | _pdep_u64(odd, 0xAAAAAAAAAAAAAAAAu);
    }
    return words;
}

#elif DK_LEVEL == 2

#define DK_LOAD(at) _mm256_loadu_si256((const __m256i *)(const void *)(at))
#define DK_FOLD(low, high) x = _mm256_add_epi16(DK_LOAD(low), _mm256_mullo_epi16(f0, DK_LOAD(high)))
#define DK_DOUBLE(next, factor, bytes)                                                            \
    do {                                                                                          \
        __m256i far = _mm256_permute2x128_si256(x, next, 0x21);                                   \
        if (bytes < 16)                                                                           \
            far = _mm256_alignr_epi8(far, x, bytes & 15);                                         \
        next = x;                                                                                 \
        x = _mm256_add_epi16(x, _mm256_mullo_epi16(factor, far));                                 \
    } while (0)

static inline uint32_t dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    const __m256i f0 = _mm256_set1_epi16((short)DK_F0), f1 = _mm256_set1_epi16((short)DK_F1);
    const __m256i f2 = _mm256_set1_epi16((short)DK_F2), f3 = _mm256_set1_epi16((short)DK_F3);
    const __m256i top = _mm256_set1_epi16((short)(0xFFFFu << (16 - bits)));
    const __m256i second = _mm256_set1_epi16((short)0xFF00);
    __m256i e1 = _mm256_setzero_si256(), e2 = e1, e3 = e1, o1 = e1, o2 = e1, o3 = e1, x;
    uint32_t words = (count + 63) / 64;
    for (uint32_t i = 2 * words + 1; i-- > 0;) {
        const uint8_t *q = p + 32 * (size_t)i;
        DK_FOLD(q, q + 2);
        DK_DOUBLE(e1, f1, 4);
        DK_DOUBLE(e2, f2, 8);
        DK_DOUBLE(e3, f3, 16);
        __m256i even = _mm256_cmpeq_epi16(_mm256_and_si256(x, top), top);
        DK_FOLD(q + 1, q + 3);
        DK_DOUBLE(o1, f1, 4);
        DK_DOUBLE(o2, f2, 8);
        DK_DOUBLE(o3, f3, 16);
        __m256i odd = _mm256_cmpeq_epi16(_mm256_and_si256(x, top), top);
        uint32_t mask = (uint32_t)_mm256_movemask_epi8(_mm256_blendv_epi8(even, odd, second));
        if (i & 1)
            masks[i / 2] = (uint64_t)mask << 32;
        else if (i / 2 < words)
            masks[i / 2] |= mask;
    }
    return words;
}

#else

/* Plain C that compilers turn into the vectors of the baseline: SSE2, and NEON on 64-bit ARM. */
static inline uint32_t dk_masks(const uint8_t *p, uint32_t count, uint32_t bits, uint64_t *masks) {
    uint16_t x[DK_CELL_BYTES + 2 * 64];
    uint8_t anchor[DK_CELL_BYTES + 64];
    const uint16_t least = (uint16_t)(0xFFFFu << (16 - bits));
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
        anchor[i] = (uint16_t)(x[i] + (uint16_t)(DK_F3 * (uint32_t)x[i + 16])) >= least;
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
    return words;
}

#endif

/* Anchors among the first count positions (at most a cell) of p, of which readable bytes may be
 * read; that is count + 63 or more. At most max are written to found. */
static inline uint32_t dk_anchors(const uint8_t *p, uint32_t count, uint64_t readable, uint32_t bits,
                                  uint16_t *found, uint32_t max) {
    uint8_t padded[DK_CELL_BYTES + DK_PAD];
    uint64_t masks[DK_CELL_BYTES / 64 + 1];
    uint32_t n = 0;
    if (readable < count + DK_PAD) {
        memcpy(padded, p, readable);
        memset(padded + readable, 0, sizeof padded - readable);
        p = padded;
    }
    uint32_t words = dk_masks(p, count, bits, masks);
    if (count & 63)
        masks[words - 1] &= (UINT64_C(1) << (count & 63)) - 1;
    for (uint32_t word = 0; word < words; word++)
        for (uint64_t mask = masks[word]; mask; mask &= mask - 1) {
            if (n == max)
                return n;
            found[n++] = (uint16_t)(64 * word + (uint32_t)__builtin_ctzll(mask));
        }
    return n;
}
