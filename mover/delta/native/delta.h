/* The delta kernel's C side. mover/delta/reference.py says what it must do, bit for bit.
 *
 * Nothing here allocates, does input or output, or keeps state of its own: the caller owns all memory.
 * Functions return a count, or a negative error. Structures are read by any number of threads at once;
 * only a dk_scan belongs to one. */
#ifndef DK_DELTA_H
#define DK_DELTA_H

#include <stddef.h>
#include <stdint.h>

#define DK_NO_ANCHOR 0xFFFFFFFFu
#define DK_CONSTANT 0xFFFFFFFEu
#define DK_KEY_BYTES 64u
#define DK_CELL_BYTES 2048u
#define DK_CANDIDATES_MAX 16u
#define DK_FILL_BYTES_MIN 256u
#define DK_EARNED 4u
#define DK_CANDIDATE_COST 256u
#define DK_SECRET_BYTES 192u

enum { DK_COPY = 0, DK_LITERAL = 1, DK_FILL = 2 };
enum { DK_ERROR_ARGUMENT = -1, DK_ERROR_GAP = -2, DK_ERROR_CALLBACK = -3 };

typedef struct {
    uint64_t start, origin, length;
    uint32_t kind, zero;
} dk_op; /* 32 bytes, as they are packed */

typedef struct {
    uint64_t size, seed;
    uint64_t key_mask;         /* what is kept of each key: its lowest bytes */
    uint32_t block, blocks;    /* bytes of a block; how many there are */
    uint32_t strong_bytes;     /* kept of each digest */
    uint32_t bits;             /* of an anchor's hash that are zero */
    uint32_t anchors_max;      /* in one cell */
    uint8_t secret[DK_SECRET_BYTES]; /* of the seed */
} dk_head;

typedef struct {
    dk_head head;
    const uint32_t *anchors; /* the columns of the signature */
    const uint64_t *keys;
    const uint8_t *digests;
    uint32_t *filter;    /* blocks words: two bits for each key */
    uint32_t *directory; /* blocks + 1: where the keys of a bucket begin in order */
    uint32_t *order;     /* blocks: block numbers by key */
} dk_index;

/* Whether a block's digest is that of the data: 1, 0 or DK_ERROR_CALLBACK. */
typedef int (*dk_equal)(void *context, uint32_t block, const uint8_t *data, size_t length);

typedef struct {
    uint64_t at;
    uint64_t block;
} dk_lane;

typedef struct {
    const uint8_t *data; /* stands at base in the new object, and ends at end */
    uint64_t base, end, start, stop;
    dk_equal equal; /* NULL: XXH3-128 */
    void *context;
    uint64_t hashed, failed, runs; /* statistics; failed is also the account */
    /* from here on it is the scan's own */
    uint64_t at, literal, emit_to, hint;
    uint64_t expected, block; /* block numbers, or DK_NONE */
    dk_lane lanes[2];
    uint32_t lane_count, phase;
    dk_op last;
} dk_scan;

#define DK_NONE UINT64_MAX

typedef struct {
    const char *name;
    void (*prepare)(dk_head *head);
    /* Columns of the blocks of data, the last of which may be short; digests may be NULL. */
    int64_t (*sign)(const dk_head *head, const uint8_t *data, size_t length, uint32_t *anchors,
                    uint64_t *keys, uint8_t *digests);
    /* Up to room operations; call again until phase is DK_DONE. */
    int64_t (*scan)(const dk_index *index, dk_scan *scan, dk_op *ops, size_t room);
    void (*digest)(const uint8_t *data, size_t length, uint64_t seed, uint8_t *out);
} dk_engine;

enum { DK_BEGIN = 0, DK_SEARCH, DK_EMIT, DK_RUN, DK_DONE };

/* The engines this processor can run, best first; NULL behind the last. */
const dk_engine *dk_engine_at(int rank);
uint32_t dk_anchor_bits(uint32_t block);
/* How many anchors lead behind their blocks: an index must not be built of any. */
uint64_t dk_wrong_anchors(const dk_index *index);
void dk_build(dk_index *index);
/* Join operations in place: the earlier stays where two overlap. The count, or DK_ERROR_GAP. */
int64_t dk_join(dk_op *ops, size_t count);

/* Elements (elements.c). Which of old and new differ, each `width` bytes (2 or 4), `count` of them:
 * gaps has for each that does how many before it do not (255 and more: 255, and then the rest), planes
 * the first bytes of what is told of them, then the second ones, and so on, `count` apart. What is told
 * is old XOR new, or with `subtract` new - old in zigzag. Both have room for count and a 255th of it more.
 * Returns how many differ; gap_bytes is the length of gaps. */
size_t dk_differ(const uint8_t *old, const uint8_t *changed, size_t count, uint32_t width, int subtract,
                 uint8_t *gaps, size_t *gap_bytes, uint8_t *planes);
/* Undo it: make elements of the old ones in place. Returns how many were changed, or DK_ERROR_ARGUMENT
 * where gaps lead behind the last element or tell of others than `told`. */
int64_t dk_change(uint8_t *data, size_t count, uint32_t width, int subtract, const uint8_t *gaps,
                  size_t gap_bytes, const uint8_t *planes, size_t told);

extern const dk_engine dk_engine_scalar;
#if defined(__x86_64__)
extern const dk_engine dk_engine_sse2;
#elif defined(__aarch64__)
extern const dk_engine dk_engine_neon;
#endif
#if defined(__x86_64__) && defined(__GNUC__)
#define DK_X86 1
extern const dk_engine dk_engine_avx2;
extern const dk_engine dk_engine_avx512;
#endif

#endif
