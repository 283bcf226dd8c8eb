/* What building the index and looking into it share. */
#ifndef DK_INDEX_H
#define DK_INDEX_H

#include <string.h>

#include "delta.h"

/* Of a key of a few bytes, 64 bits that depend on all of it (the odd factor is 2**64 by the golden ratio). */
static inline uint64_t dk_spread(uint64_t key) {
    return key * UINT64_C(0x9E3779B97F4A7C15);
}

static inline uint32_t dk_filter_word(uint64_t spread, uint32_t blocks) {
    return (uint32_t)((spread & 0xFFFFFFFFu) * blocks >> 32);
}

static inline uint32_t dk_filter_bits(uint64_t spread) {
    return 1u << (spread >> 32 & 31) | 1u << (spread >> 37 & 31);
}

static inline uint32_t dk_bucket(uint64_t spread, uint32_t blocks) {
    return (uint32_t)((spread >> 32) * blocks >> 32);
}

static inline uint32_t dk_length(const dk_head *head, uint64_t block) {
    uint64_t rest = head->size - block * head->block;
    return rest < head->block ? (uint32_t)rest : head->block;
}

/* Whether two blocks are equal, as far as the signature knows. */
static inline int dk_same(const dk_index *index, uint64_t one, uint64_t other) {
    uint32_t wide = index->head.strong_bytes;
    return index->anchors[one] == index->anchors[other] && index->keys[one] == index->keys[other]
        && dk_length(&index->head, one) == dk_length(&index->head, other)
        && !memcmp(index->digests + one * wide, index->digests + other * wide, wide);
}

#endif
