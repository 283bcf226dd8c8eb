/* Arrays of elements of two or four bytes: which of them differ, and by what.
 *
 * Elements are little-endian whatever the machine. Buffers need no alignment. */
#include <string.h>

#include "delta.h"

enum { GAP_MAX = 255 };

static uint32_t load(const uint8_t *at, uint32_t width) {
    uint32_t low = (uint32_t)at[0] | (uint32_t)at[1] << 8;
    return width == 2 ? low : low | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void store(uint8_t *at, uint32_t width, uint32_t value) {
    for (uint32_t place = 0; place < width; place++)
        at[place] = (uint8_t)(value >> 8 * place);
}

/* A difference of any sign as a small number where it is small: 0, -1, 1, -2 are 0, 1, 2, 3. */
static uint32_t fold(uint32_t difference, uint32_t width) {
    uint32_t top = 8 * width - 1, mask = UINT32_MAX >> (31 - top);
    return ((difference << 1) ^ (0u - (difference >> top & 1))) & mask;
}

static uint32_t unfold(uint32_t folded, uint32_t width) {
    return ((folded >> 1) ^ (0u - (folded & 1))) & (UINT32_MAX >> (32 - 8 * width));
}

/* The next place from `at` on where old and new differ, or length; most do not, so words are looked at. */
static size_t unequal(const uint8_t *old, const uint8_t *changed, size_t at, size_t length) {
    for (; at + 32 <= length; at += 32) {
        uint64_t a[4], b[4];
        memcpy(a, old + at, 32);
        memcpy(b, changed + at, 32);
        if ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]))
            break;
    }
    while (at < length && old[at] == changed[at])
        at++;
    return at;
}

static size_t put_gap(uint8_t *gaps, size_t at, size_t gap) {
    for (; gap >= GAP_MAX; gap -= GAP_MAX)
        gaps[at++] = GAP_MAX;
    gaps[at++] = (uint8_t)gap;
    return at;
}

size_t dk_differ(const uint8_t *old, const uint8_t *changed, size_t count, uint32_t width, int subtract,
                 uint8_t *gaps, size_t *gap_bytes, uint8_t *planes) {
    size_t length = count * width, next = 0, found = 0, used = 0;
    for (size_t at; (at = unequal(old, changed, next * width, length)) < length; found++) {
        size_t element = at / width;
        uint32_t was = load(old + element * width, width), is = load(changed + element * width, width);
        uint32_t told = subtract ? fold(is - was, width) : is ^ was;
        for (uint32_t place = 0; place < width; place++)
            planes[place * count + found] = (uint8_t)(told >> 8 * place);
        used = put_gap(gaps, used, element - next);
        next = element + 1;
    }
    *gap_bytes = used;
    return found;
}

int64_t dk_change(uint8_t *data, size_t count, uint32_t width, int subtract, const uint8_t *gaps,
                  size_t gap_bytes, const uint8_t *planes, size_t told) {
    size_t element = 0, done = 0;
    for (size_t at = 0; at < gap_bytes; at++) {
        element += gaps[at];
        if (gaps[at] == GAP_MAX)
            continue;
        if (element >= count || done >= told)
            return DK_ERROR_ARGUMENT;
        uint32_t change = 0;
        for (uint32_t place = 0; place < width; place++)
            change |= (uint32_t)planes[place * told + done] << 8 * place;
        uint8_t *where = data + element * width;
        uint32_t was = load(where, width);
        store(where, width, subtract ? was + unfold(change, width) : was ^ change);
        element++;
        done++;
    }
    return done == told && (gap_bytes == 0 || gaps[gap_bytes - 1] != GAP_MAX) ? (int64_t)done
                                                                             : DK_ERROR_ARGUMENT;
}
