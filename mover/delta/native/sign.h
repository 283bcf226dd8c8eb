/* Signing. Included once by each level. */

static inline uint64_t dk_key(const dk_head *head, const uint8_t *window) {
    return XXH3_64bits_withSeed(window, DK_KEY_BYTES, head->seed);
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
    uint32_t step = 128u << (head->bits > 7 ? head->bits - 7 : 0);
    for (uint32_t at = 0; at < positions;) {
        uint32_t count = positions - at < step ? positions - at : step;
        uint16_t found;
        if (dk_anchors(block + at, count, length - at, head->bits, &found, 1)) {
            *key = dk_key(head, block + at + found);
            return at + found;
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
