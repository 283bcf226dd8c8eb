/* The index of a signature, and the joining of operations. */
#include <string.h>

#include "delta.h"
#include "index.h"

uint32_t dk_anchor_bits(uint32_t block) {
    uint32_t width = 0;
    for (uint32_t rest = block - DK_KEY_BYTES + 1; rest; rest >>= 1)
        width++;
    return width < 3 ? 0 : width - 3 > 10 ? 10 : width - 3;
}

static int has_key(const dk_index *index, uint32_t block) {
    return index->anchors[block] < DK_CONSTANT;
}

uint64_t dk_wrong_anchors(const dk_index *index) {
    uint64_t wrong = 0;
    for (uint32_t block = 0; block < index->head.blocks; block++)
        wrong += has_key(index, block)
            && (uint64_t)index->anchors[block] + DK_KEY_BYTES > dk_length(&index->head, block);
    return wrong;
}

static int is_less(const dk_index *index, uint32_t one, uint32_t other) {
    uint64_t a = index->keys[one], b = index->keys[other];
    return a < b || (a == b && one < other);
}

static void sift(const dk_index *index, uint32_t *heap, uint32_t root, uint32_t count) {
    for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && is_less(index, heap[child], heap[child + 1]))
            child++;
        if (!is_less(index, heap[root], heap[child]))
            return;
        uint32_t held = heap[root];
        heap[root] = heap[child];
        heap[child] = held;
    }
}

/* Heap sort: a bucket that somebody filled on purpose takes no more than n log n. */
static void sort(const dk_index *index, uint32_t *blocks, uint32_t count) {
    uint32_t sorted = 1;
    while (sorted < count && is_less(index, blocks[sorted - 1], blocks[sorted]))
        sorted++;
    if (sorted >= count)
        return;
    for (uint32_t root = count / 2; root-- > 0;)
        sift(index, blocks, root, count);
    for (uint32_t last = count - 1; last > 0; last--) {
        uint32_t held = blocks[0];
        blocks[0] = blocks[last];
        blocks[last] = held;
        sift(index, blocks, 0, last);
    }
}

/* Whether order[begin..end) of one key has no block like this one, and room for it. */
static int is_new(const dk_index *index, uint32_t begin, uint32_t end, uint32_t block) {
    if (end - begin >= DK_CANDIDATES_MAX)
        return 0;
    for (uint32_t at = begin; at < end; at++)
        if (dk_same(index, index->order[at], block))
            return 0;
    return 1;
}

void dk_build(dk_index *index) {
    uint32_t blocks = index->head.blocks, *directory = index->directory, *order = index->order;
    memset(directory, 0, (blocks + (size_t)1) * sizeof *directory);
    memset(index->filter, 0, blocks * sizeof *index->filter);
    for (uint32_t block = 0; block < blocks; block++)
        if (has_key(index, block)) {
            uint64_t spread = dk_spread(index->keys[block]);
            index->filter[dk_filter_word(spread, blocks)] |= dk_filter_bits(spread);
            directory[dk_bucket(spread, blocks) + 1]++;
        }
    for (uint32_t bucket = 0; bucket < blocks; bucket++)
        directory[bucket + 1] += directory[bucket];
    for (uint32_t block = blocks; block-- > 0;) /* from behind: the ends move to the beginnings */
        if (has_key(index, block))
            order[--directory[dk_bucket(dk_spread(index->keys[block]), blocks) + 1]] = block;
    /* Now directory[bucket + 1] is where the bucket begins; close the gaps of equal blocks. */
    uint32_t kept = 0, total = 0;
    for (uint32_t block = 0; block < blocks; block++)
        total += (uint32_t)has_key(index, block);
    for (uint32_t bucket = 0; bucket < blocks; bucket++) {
        uint32_t begin = directory[bucket + 1];
        uint32_t end = bucket + 1 < blocks ? directory[bucket + 2] : total;
        uint32_t key_begin = kept;
        sort(index, order + begin, end - begin);
        directory[bucket] = kept;
        for (uint32_t at = begin; at < end; at++) {
            uint32_t block = order[at];
            if (at > begin && kept > key_begin
                && index->keys[order[key_begin]] != index->keys[block])
                key_begin = kept;
            if (is_new(index, key_begin, kept, block))
                order[kept++] = block;
        }
    }
    directory[blocks] = kept;
}

static int continues(const dk_op *first, const dk_op *then) {
    if (first->kind != then->kind)
        return 0;
    return then->origin == (first->kind == DK_FILL ? first->origin : first->origin + first->length);
}

int64_t dk_join(dk_op *ops, size_t count) {
    size_t kept = 0;
    for (size_t at = 0; at < count; at++) {
        dk_op op = ops[at];
        if (kept) {
            dk_op *last = &ops[kept - 1];
            uint64_t stop = last->start + last->length;
            if (op.start < stop) {
                uint64_t late = stop - op.start;
                if (late >= op.length)
                    continue;
                op.start += late;
                op.length -= late;
                op.origin += op.kind == DK_FILL ? 0 : late;
            }
            if (op.start > stop)
                return DK_ERROR_GAP;
            if (continues(last, &op)) {
                last->length += op.length;
                continue;
            }
        }
        if (op.length)
            ops[kept++] = op;
    }
    return (int64_t)kept;
}
