/* Runs every level of the delta kernel that this processor has, on the same bytes, and compares.
 *
 * Needs no Python, so it goes wherever a C compiler or an emulator does. What it prints at the end is a
 * digest of all columns and operations: it must be the same on every processor. All bytes end where a
 * page begins that nobody may read. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "delta.h"

#define SIZE_MAX_BYTES (1u << 18)
#define ROUNDS 1500
#define STRONG_MAX 16
#define BLOCKS_MAX (SIZE_MAX_BYTES / 64 + 1)
#define OPS_MAX (SIZE_MAX_BYTES / 8)

typedef struct {
    uint8_t *end; /* the first byte that nobody may read */
    uint8_t *data;
    size_t size;
} guarded;

typedef struct {
    uint32_t anchors[BLOCKS_MAX];
    uint64_t keys[BLOCKS_MAX];
    uint8_t digests[BLOCKS_MAX * STRONG_MAX];
    dk_op ops[OPS_MAX];
    uint64_t blocks, op_count, hashed, failed, runs;
} outcome;

static uint64_t state = 1;

static uint64_t draw(void) { /* splitmix64 */
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static void stop_with(const char *what) {
    fprintf(stderr, "levels: %s\n", what);
    exit(1);
}

static void *taken(size_t size) {
    void *memory = malloc(size);
    if (!memory)
        stop_with("no memory");
    return memory;
}

static guarded guarded_bytes(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (2 * (size_t)SIZE_MAX_BYTES + page - 1) / page * page;
    uint8_t *all = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all + room, page, PROT_NONE))
        stop_with("no page to guard");
    return (guarded){all + room, all + room, 0};
}

static void set_size(guarded *bytes, size_t size) {
    bytes->size = size;
    bytes->data = bytes->end - size;
}

/* Bytes of an alphabet, or of a short pattern over and over: dull ones find the corners. */
static void make_old(guarded *old) {
    static const unsigned alphabets[] = {1, 2, 4, 256, 256, 256};
    set_size(old, draw() % (draw() % 4 ? 20000 : SIZE_MAX_BYTES));
    unsigned letters = alphabets[draw() % 6];
    size_t period = draw() % 5 ? 0 : 2 + draw() % 200;
    for (size_t at = 0; at < old->size; at++)
        old->data[at] = period && at >= period ? old->data[at - period] : (uint8_t)(draw() % letters);
}

/* The old bytes in pieces, some left out, moved, repeated or preceded by others. */
static void make_new(const guarded *old, guarded *made, uint8_t *scratch) {
    size_t size = 0, from = 0;
    while (from < old->size) {
        size_t piece = 1 + draw() % (old->size / (1 + draw() % 6) + 1);
        size_t extra = draw() % 3 ? 0 : draw() % 700;
        if (size + extra >= SIZE_MAX_BYTES)
            break;
        uint64_t letters = draw() % 2 ? 256 : 1;
        for (size_t i = 0; i < extra; i++)
            scratch[size++] = (uint8_t)(draw() % letters);
        if (!(draw() % 4))
            from = draw() % old->size;
        if (piece > old->size - from)
            piece = old->size - from;
        if (piece > SIZE_MAX_BYTES - size)
            piece = SIZE_MAX_BYTES - size;
        memcpy(scratch + size, old->data + from, piece);
        size += piece;
        from += piece;
        if (size == SIZE_MAX_BYTES)
            break;
    }
    set_size(made, size);
    memcpy(made->data, scratch, size);
}

static dk_index index_of(const dk_head *head, const outcome *out) {
    static uint32_t filter[BLOCKS_MAX], directory[BLOCKS_MAX + 1], order[BLOCKS_MAX];
    dk_index index = {*head, out->anchors, out->keys, out->digests, filter, directory, order};
    if (dk_wrong_anchors(&index))
        stop_with("an anchor outside of its block");
    dk_build(&index);
    return index;
}

static void run(const dk_engine *engine, dk_head head, const guarded *old, const guarded *made,
                uint64_t segment, outcome *out) {
    engine->prepare(&head);
    out->blocks = (uint64_t)engine->sign(&head, old->data, old->size, out->anchors, out->keys,
                                         out->digests);
    dk_index index = index_of(&head, out);
    out->op_count = out->hashed = out->failed = out->runs = 0;
    for (uint64_t start = 0; start < made->size; start += segment) {
        dk_scan scan = {.data = made->data, .end = made->size, .start = start};
        scan.stop = made->size - start < segment ? made->size : start + segment;
        while (scan.phase != DK_DONE) {
            int64_t count = engine->scan(&index, &scan, out->ops + out->op_count,
                                         OPS_MAX - out->op_count);
            if (count < 0)
                stop_with("a scan that was refused");
            out->op_count += (uint64_t)count;
        }
        out->hashed += scan.hashed;
        out->failed += scan.failed;
        out->runs += scan.runs;
    }
    int64_t joined = dk_join(out->ops, out->op_count);
    if (joined < 0)
        stop_with("a gap between operations");
    out->op_count = (uint64_t)joined;
}

static void check_made(const guarded *old, const guarded *made, const outcome *out) {
    uint64_t at = 0;
    for (uint64_t i = 0; i < out->op_count; i++) {
        dk_op op = out->ops[i];
        if (op.start != at || op.length > made->size - at)
            stop_with("operations that do not follow each other");
        for (uint64_t j = 0; j < op.length; j++) {
            uint8_t byte = made->data[at + j];
            if (op.kind == DK_COPY)
                byte = op.origin + j < old->size ? old->data[op.origin + j] : (uint8_t)~byte;
            else if (op.kind == DK_FILL)
                byte = (uint8_t)op.origin;
            if (byte != made->data[at + j])
                stop_with("operations that make other bytes");
        }
        at += op.length;
    }
    if (at != made->size)
        stop_with("operations that end too early");
}

static int are_equal(const dk_head *head, const outcome *one, const outcome *other) {
    size_t blocks = one->blocks;
    return blocks == other->blocks && one->op_count == other->op_count
        && one->hashed == other->hashed && one->failed == other->failed && one->runs == other->runs
        && !memcmp(one->anchors, other->anchors, blocks * sizeof *one->anchors)
        && !memcmp(one->keys, other->keys, blocks * sizeof *one->keys)
        && !memcmp(one->digests, other->digests, blocks * head->strong_bytes)
        && !memcmp(one->ops, other->ops, one->op_count * sizeof *one->ops);
}

/* FNV-1a: its own arithmetic, so that a wrong digest of the kernel shows. */
static void add_to(uint64_t *total, const void *bytes, size_t size) {
    for (size_t at = 0; at < size; at++)
        *total = (*total ^ ((const uint8_t *)bytes)[at]) * UINT64_C(0x100000001B3);
}

static dk_head head_for(size_t size) {
    static const uint32_t blocks[] = {64, 65, 100, 128, 500, 1024, 2048, 4096, 16384};
    static const uint32_t strong[] = {5, 11, 16};
    dk_head head = {.size = size, .seed = draw() % 3 ? draw() : 0, .block = blocks[draw() % 9]};
    head.strong_bytes = strong[draw() % 3];
    head.key_mask = UINT64_MAX >> (64 - 8 * (3 + draw() % 6));
    head.blocks = (uint32_t)((size + head.block - 1) / head.block);
    head.bits = dk_anchor_bits(head.block);
    head.anchors_max = 8192u >> head.bits > 64 ? 8192u >> head.bits : 64;
    return head;
}

int main(void) {
    guarded old = guarded_bytes(), made = guarded_bytes();
    uint8_t *scratch = taken(SIZE_MAX_BYTES);
    outcome *first = taken(sizeof *first), *other = taken(sizeof *other);
    uint64_t total = UINT64_C(0xCBF29CE484222325), op_count = 0;
    for (int round = 0; round < ROUNDS; round++) {
        make_old(&old);
        make_new(&old, &made, scratch);
        dk_head head = head_for(old.size);
        uint64_t segment = draw() % 2 ? SIZE_MAX_BYTES : 4 * head.block + draw() % 9000;
        run(&dk_engine_scalar, head, &old, &made, segment, first);
        check_made(&old, &made, first);
        for (int rank = 0; dk_engine_at(rank); rank++) {
            run(dk_engine_at(rank), head, &old, &made, segment, other);
            if (!are_equal(&head, first, other)) {
                fprintf(stderr, "levels: %s differs from scalar in round %d\n",
                        dk_engine_at(rank)->name, round);
                return 1;
            }
        }
        add_to(&total, first->anchors, first->blocks * sizeof *first->anchors);
        add_to(&total, first->keys, first->blocks * sizeof *first->keys);
        add_to(&total, first->digests, first->blocks * head.strong_bytes);
        add_to(&total, first->ops, first->op_count * sizeof *first->ops);
        op_count += first->op_count;
    }
    for (int rank = 0; dk_engine_at(rank); rank++)
        printf("%s ", dk_engine_at(rank)->name);
    printf("agree: %d pairs, %llu operations, digest %016llx\n", ROUNDS,
           (unsigned long long)op_count, (unsigned long long)total);
    return 0;
}
