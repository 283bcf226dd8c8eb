/* What building the index and looking into it share. */
#ifndef DK_INDEX_H
#define DK_INDEX_H

#include <string.h>

#include "delta.h"

static inline uint32_t dk_filter_word(uint64_t key, uint32_t blocks) {
    return (uint32_t)((key & 0xFFFFFFFFu) * blocks >> 32);
}

static inline uint32_t dk_filter_bits(uint64_t key) {
    return 1u << (key >> 32 & 31) | 1u << (key >> 37 & 31);
}

/* Buckets are in the order of keys. */
static inline uint32_t dk_bucket(uint64_t key, uint32_t blocks) {
    return (uint32_t)((key >> 32) * blocks >> 32);
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
