/* The scan of one segment. Included once by each level. */
#include "emit.h"
#include "index.h"

/* The anchors of some positions, no more than a cell, with their keys. */
typedef struct {
    uint64_t start, stop;
    uint32_t count;
    uint16_t found[DK_CELL_BYTES + DK_FOUND_SPARE];
    uint64_t keys[DK_CELL_BYTES];
} dk_batch;

static inline int dk_fits(const dk_index *index, const dk_scan *scan, uint64_t at, uint64_t block) {
    return scan->end - at >= dk_length(&index->head, block) && at <= scan->end;
}

static int dk_is_equal(const dk_index *index, dk_scan *scan, uint64_t at, uint64_t block) {
    uint32_t length = dk_length(&index->head, block), wide = index->head.strong_bytes;
    scan->hashed += length;
    if (scan->equal)
        return scan->equal(scan->context, (uint32_t)block, dk_at(scan, at), length);
    uint8_t digest[16];
    dk_digest(&index->head, dk_at(scan, at), length, digest);
    return !memcmp(digest, index->digests + block * wide, wide);
}

static inline int dk_pays(const dk_index *index, const dk_scan *scan, uint64_t at, uint64_t cost) {
    return scan->failed + cost <= DK_EARNED * (at - scan->start + index->head.block);
}

static int dk_paid_equal(const dk_index *index, dk_scan *scan, uint64_t paid_at, uint64_t at,
                         uint64_t block) {
    uint32_t length = dk_length(&index->head, block);
    if (!dk_pays(index, scan, paid_at, length))
        return 0;
    int equal = dk_is_equal(index, scan, at, block);
    if (equal == 0)
        scan->failed += length;
    return equal;
}

/* Whether a block stands here; asks what is cheap before the digest. */
static int dk_probe(const dk_index *index, dk_scan *scan, uint64_t paid_at, uint64_t at,
                    uint64_t block) {
    if (!dk_fits(index, scan, at, block))
        return 0;
    uint32_t offset = index->anchors[block];
    uint64_t key = index->keys[block];
    const uint8_t *data = dk_at(scan, at);
    if (offset == DK_CONSTANT) {
        uint32_t length = dk_length(&index->head, block);
        for (uint32_t i = 0; i < 8 && i < length; i++)
            if (data[i] != key)
                return 0;
    } else if (offset != DK_NO_ANCHOR && dk_key(&index->head, data + offset) != key)
        return 0;
    return dk_paid_equal(index, scan, paid_at, at, block);
}

/* 1 where the block at the same offset of the basis stands at scan->at; it is then scan->block. */
static int dk_in_place(const dk_index *index, dk_scan *scan) {
    uint64_t block = scan->at / index->head.block;
    if (scan->at % index->head.block || block >= index->head.blocks || block == scan->expected)
        return 0;
    scan->block = block;
    return dk_probe(index, scan, scan->at, scan->at, block);
}

/* Copy a block that is known to stand here, and those that follow it as in the basis. */
static int dk_run(const dk_index *index, dk_scan *scan, dk_op *ops, size_t *count) {
    uint64_t block = scan->block, begin = scan->at;
    int equal = 1;
    scan->runs++;
    while (equal > 0) {
        scan->at += dk_length(&index->head, block);
        block++;
        scan->expected = block < index->head.blocks ? block : DK_NONE;
        if (scan->expected == DK_NONE || scan->at >= scan->stop
            || !dk_fits(index, scan, scan->at, block))
            break;
        equal = dk_is_equal(index, scan, scan->at, block);
    }
    scan->literal = scan->at;
    scan->hint = DK_NONE;
    dk_op op = {begin, scan->block * index->head.block, scan->at - begin, DK_COPY, 0};
    dk_push(scan, op, ops, count);
    return equal;
}

static void dk_begin_search(const dk_index *index, dk_scan *scan) {
    uint64_t wide = index->head.block, here = scan->at / wide + 1;
    scan->lane_count = 0;
    if (scan->expected != DK_NONE)
        scan->lanes[scan->lane_count++] = (dk_lane){scan->at + wide, scan->expected + 1};
    if (!scan->lane_count || scan->lanes[0].at != here * wide || scan->lanes[0].block != here)
        scan->lanes[scan->lane_count++] = (dk_lane){here * wide, here};
}

static int dk_ask_lanes(const dk_index *index, dk_scan *scan, uint64_t at) {
    for (uint32_t i = 0; i < scan->lane_count; i++) {
        dk_lane *lane = &scan->lanes[i];
        if (lane->at != at || lane->at >= scan->stop || lane->block >= index->head.blocks)
            continue;
        scan->block = lane->block++;
        lane->at += index->head.block;
        int equal = dk_probe(index, scan, at, at, scan->block);
        if (equal) {
            scan->at = at;
            return equal;
        }
    }
    return 0;
}

/* Where a lane asks next, when those that ask at `asked` have done so. */
static uint64_t dk_next_lane(const dk_index *index, const dk_scan *scan, uint64_t asked) {
    uint64_t next = DK_NONE;
    for (uint32_t i = 0; i < scan->lane_count; i++) {
        dk_lane lane = scan->lanes[i];
        if (lane.at == asked) {
            lane.at += index->head.block;
            lane.block++;
        }
        if (lane.block < index->head.blocks && lane.at < scan->stop && lane.at < next)
            next = lane.at;
    }
    return next;
}

/* Where the positions end that are asked together, from at on, before a lane asks at lane_at. */
static uint64_t dk_batch_stop(uint64_t at, uint64_t lane_at, uint64_t anchors_stop) {
    uint64_t stop = (at / DK_CELL_BYTES + 1) * DK_CELL_BYTES;
    stop = stop < anchors_stop ? stop : anchors_stop;
    return stop < lane_at ? stop : lane_at;
}

/* Of equal blocks, the one that continues a lane: longer runs, fewer operations. */
static uint64_t dk_preferred(const dk_index *index, const dk_scan *scan, uint64_t begin,
                             uint64_t block) {
    int64_t wide = index->head.block;
    for (uint32_t i = 0; i < scan->lane_count; i++) {
        int64_t apart = (int64_t)begin - (int64_t)scan->lanes[i].at;
        int64_t other = (int64_t)scan->lanes[i].block + apart / wide;
        if (apart % wide == 0 && other >= 0 && other < (int64_t)index->head.blocks
            && dk_same(index, block, (uint64_t)other))
            return (uint64_t)other;
    }
    return block;
}

/* A block of the basis with this key was found to stand at begin: what stands before it, too? */
static int dk_hit(const dk_index *index, dk_scan *scan, uint64_t paid_at, uint64_t begin,
                  uint64_t block) {
    uint64_t wide = index->head.block;
    block = dk_preferred(index, scan, begin, block);
    while (block > 0 && begin >= scan->literal + wide) {
        int equal = dk_probe(index, scan, paid_at, begin - wide, block - 1);
        if (equal < 0)
            return equal;
        if (!equal)
            break;
        begin -= wide;
        block--;
    }
    scan->at = begin;
    scan->block = block;
    return 1;
}

/* What is known of one key: at most DK_CANDIDATES_MAX blocks. */
static int dk_ask_key(const dk_index *index, dk_scan *scan, uint64_t at, uint64_t key) {
    uint32_t bucket = dk_bucket(dk_spread(key), index->head.blocks);
    uint32_t low = index->directory[bucket], end = index->directory[bucket + 1], high = end;
    while (low < high) { /* the first that is not less */
        uint32_t middle = low + (high - low) / 2;
        if (index->keys[index->order[middle]] < key)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < end && index->keys[index->order[low]] == key; low++) {
        if (!dk_pays(index, scan, at, DK_CANDIDATE_COST))
            return 0;
        scan->failed += DK_CANDIDATE_COST;
        uint64_t block = index->order[low], offset = index->anchors[block];
        if (at < scan->literal + offset || at - offset >= scan->stop
            || !dk_fits(index, scan, at - offset, block))
            continue;
        int equal = dk_paid_equal(index, scan, at, at - offset, block);
        if (equal < 0)
            return equal;
        if (equal)
            return dk_hit(index, scan, at, at - offset, block);
    }
    return 0;
}

/* Find anchors, and send for their lines of the filter. */
static void dk_gather(const dk_index *index, const dk_scan *scan, dk_batch *batch, uint64_t start,
                      uint64_t stop) {
    const dk_head *head = &index->head;
    const uint8_t *data = dk_at(scan, start);
    batch->start = start;
    batch->stop = stop;
    batch->count = dk_anchors(data, (uint32_t)(stop - start), scan->end - start, head->bits,
                              batch->found, head->anchors_max);
    for (uint32_t i = 0; i < batch->count; i++) {
        batch->keys[i] = dk_key(head, data + batch->found[i]);
        __builtin_prefetch(&index->filter[dk_filter_word(dk_spread(batch->keys[i]), head->blocks)]);
    }
}

static int dk_ask_batch(const dk_index *index, dk_scan *scan, dk_batch *batch) {
    uint32_t passed = 0, blocks = index->head.blocks;
    for (uint32_t i = 0; i < batch->count; i++) { /* no branch: what passes is packed to the front */
        uint64_t key = batch->keys[i], spread = dk_spread(key);
        uint32_t bits = dk_filter_bits(spread);
        batch->keys[passed] = key;
        batch->found[passed] = batch->found[i];
        passed += (index->filter[dk_filter_word(spread, blocks)] & bits) == bits;
    }
    for (uint32_t i = 0; i < passed; i++) {
        uint64_t at = batch->start + batch->found[i];
        if (!dk_pays(index, scan, at, DK_CANDIDATE_COST))
            continue;
        int equal = dk_ask_key(index, scan, at, batch->keys[i]);
        if (equal)
            return equal;
    }
    return 0;
}

/* Go on to the next block of the basis, wherever it is: 1, 0 when the segment has no more. */
static int dk_search(const dk_index *index, dk_scan *scan) {
    uint64_t at = scan->at;
    uint64_t anchors_stop = scan->end < scan->base + DK_KEY_BYTES ? 0 : scan->end - DK_KEY_BYTES + 1;
    if (anchors_stop > scan->stop + index->head.block - DK_KEY_BYTES)
        anchors_stop = scan->stop + index->head.block - DK_KEY_BYTES;
    dk_begin_search(index, scan);
    dk_batch batches[2]; /* one is gathered while the lines of the filter come for the other */
    batches[0].start = batches[1].start = DK_NONE;
    for (uint32_t turn = 0;;) {
        int equal = dk_ask_lanes(index, scan, at);
        if (equal)
            return equal;
        uint64_t lane_at = dk_next_lane(index, scan, DK_NONE);
        uint64_t stop = dk_batch_stop(at, lane_at, anchors_stop);
        if (at < stop) {
            dk_batch *batch = &batches[turn & 1];
            if (stop + 2 * DK_CELL_BYTES + DK_KEY_BYTES <= scan->end)
                for (uint32_t ahead = 0; ahead < DK_CELL_BYTES; ahead += 64)
                    __builtin_prefetch(dk_at(scan, stop) + DK_CELL_BYTES + ahead);
            if (batch->start != at || batch->stop != stop)
                dk_gather(index, scan, batch, at, stop);
            lane_at = dk_next_lane(index, scan, stop);
            uint64_t next_stop = dk_batch_stop(stop, lane_at, anchors_stop);
            if (turn++ && stop < next_stop) /* not in the first turn, which often finds */
                dk_gather(index, scan, &batches[turn & 1], stop, next_stop);
            dk_look_for_fill(scan, at, stop);
            if ((equal = dk_ask_batch(index, scan, batch)))
                return equal;
            at = stop;
        } else if (lane_at < scan->stop)
            at = lane_at;
        else
            return 0;
    }
}

static int64_t DK_NAME(scan)(const dk_index *index, dk_scan *scan, dk_op *ops, size_t room) {
    size_t count = 0;
    int equal;
    if (room < 4)
        return DK_ERROR_ARGUMENT;
    for (;;) {
        switch (scan->phase) {
        case DK_BEGIN:
            scan->at = scan->literal = scan->start;
            scan->expected = scan->hint = DK_NONE;
            scan->last.length = 0;
            if ((equal = dk_in_place(index, scan)) < 0)
                return equal;
            scan->phase = equal ? DK_RUN : DK_SEARCH;
            break;
        case DK_SEARCH:
            if ((equal = dk_search(index, scan)) < 0)
                return equal;
            scan->emit_to = equal ? scan->at : scan->stop;
            scan->block = equal ? scan->block : DK_NONE;
            scan->phase = DK_EMIT;
            break;
        case DK_EMIT:
            if (!dk_emit(scan, ops, room, &count))
                return (int64_t)count;
            scan->phase = DK_RUN;
            break;
        case DK_RUN:
            if (room - count < 3)
                return (int64_t)count;
            if (scan->block != DK_NONE) {
                if ((equal = dk_run(index, scan, ops, &count)) < 0)
                    return equal;
                if (scan->at < scan->stop) {
                    if ((equal = dk_in_place(index, scan)) < 0)
                        return equal;
                    scan->phase = equal ? DK_RUN : DK_SEARCH;
                    break;
                }
            }
            if (scan->last.length)
                ops[count++] = scan->last;
            scan->phase = DK_DONE;
            return (int64_t)count;
        default:
            return (int64_t)count;
        }
    }
}
