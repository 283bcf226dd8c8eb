/* Signing. Included once by each level. */

static inline uint64_t dk_fold(const uint8_t *data, const uint8_t *secret) {
    uint64_t low = XXH_readLE64(data) ^ XXH_readLE64(secret);
    uint64_t high = XXH_readLE64(data + 8) ^ XXH_readLE64(secret + 8);
#ifdef __SIZEOF_INT128__
    __extension__ unsigned __int128 product = (unsigned __int128)low * high;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    return XXH3_mul128_fold64(low, high);
#endif
}

/* XXH3_64bits_withSeed of 64 bytes, in line: a secret of the seed has the seed in its words. */
static inline uint64_t dk_key(const dk_head *head, const uint8_t *window) {
    uint64_t sum = DK_KEY_BYTES * XXH_PRIME64_1;
    for (uint32_t i = 0; i < 2; i++)
        sum += dk_fold(window + 16 * i, head->secret + 32 * i)
            + dk_fold(window + 48 - 16 * i, head->secret + 32 * i + 16);
    sum = (sum ^ sum >> 37) * UINT64_C(0x165667919E3779F9);
    return (sum ^ sum >> 32) & head->key_mask;
}

static inline void dk_digest(const dk_head *head, const uint8_t *data, size_t length, uint8_t *out) {
    XXH128_canonical_t whole;
    XXH128_canonicalFromHash(&whole, XXH3_128bits_withSecretandSeed(
        data, length, head->secret, DK_SECRET_BYTES, head->seed));
    memcpy(out, whole.digest, head->strong_bytes);
}

static void DK_NAME(prepare)(dk_head *head) {
    XXH3_generateSecret_fromSeed(head->secret, head->seed);
}

static uint32_t dk_first_anchor(const dk_head *head, const uint8_t *block, uint32_t length,
                                uint64_t *key) {
    *key = 0;
    if (length < DK_KEY_BYTES)
        return DK_NO_ANCHOR;
    if (block[0] == block[1] && !memcmp(block, block + 1, length - 1)) {
        *key = block[0];
        return DK_CONSTANT;
    }
    uint32_t positions = length - DK_KEY_BYTES + 1;
    /* As many positions as an anchor is worth waiting for, then whole cells. */
    uint32_t step = head->bits > 7 ? 1u << head->bits : 128;
    for (uint32_t at = 0; at < positions;) {
        uint32_t count = positions - at < step ? positions - at : step;
        uint16_t found[DK_FOUND_SPARE + 1];
        if (dk_anchors(block + at, count, length - at, head->bits, found, 1)) {
            *key = dk_key(head, block + at + found[0]);
            return at + found[0];
        }
        at += count;
        step = 2 * step < DK_CELL_BYTES ? 2 * step : DK_CELL_BYTES;
    }
    return DK_NO_ANCHOR;
}

static int64_t DK_NAME(sign)(const dk_head *head, const uint8_t *data, size_t length,
                             uint32_t *anchors, uint64_t *keys, uint8_t *digests) {
    int64_t blocks = 0;
    const uint8_t *last = NULL; /* the digest of the last constant block of full length, its byte in value */
    uint64_t value = 0;
    for (size_t at = 0; at < length; blocks++) {
        uint32_t wide = length - at < head->block ? (uint32_t)(length - at) : head->block;
        const uint8_t *block = data + at;
        if (at + wide + 2 * DK_CELL_BYTES <= length)
            for (uint32_t ahead = 0; ahead < 512; ahead += 64)
                __builtin_prefetch(block + wide + ahead);
        anchors[blocks] = dk_first_anchor(head, block, wide, &keys[blocks]);
        at += wide;
        if (!digests)
            continue;
        uint8_t *digest = digests + (size_t)blocks * head->strong_bytes;
        if (anchors[blocks] == DK_CONSTANT && wide == head->block) {
            if (last && value == keys[blocks]) {
                memcpy(digest, last, head->strong_bytes);
                continue;
            }
            last = digest;
            value = keys[blocks];
        }
        dk_digest(head, block, wide, digest);
    }
    return blocks;
}
