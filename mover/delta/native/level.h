/* One level of the engine: everything that is compiled for one kind of processor. */
#include <string.h>

#define XXH_INLINE_ALL
/* As far ahead as pays for data that is in memory only: the library's 384 leaves a tenth of the rate. */
#define XXH_PREFETCH_DIST 1024
#include "xxhash.h"

#include "delta.h"

#define DK_GLUE(one, other) one##_##other
#define DK_GLUED(one, other) DK_GLUE(one, other)
#define DK_NAME(what) DK_GLUED(DK_GLUED(dk, what), DK_SUFFIX)
#define DK_TEXT(word) #word
#define DK_STRING(word) DK_TEXT(word)

#include "anchors.h"
#include "sign.h"
#include "scan.h"

static void DK_NAME(digest)(const uint8_t *data, size_t length, uint64_t seed, uint8_t *out) {
    XXH128_canonical_t whole;
    XXH128_canonicalFromHash(&whole, XXH3_128bits_withSeed(data, length, seed));
    memcpy(out, whole.digest, sizeof whole.digest);
}

const dk_engine DK_NAME(engine) = {DK_STRING(DK_SUFFIX), DK_NAME(prepare), DK_NAME(sign),
                                   DK_NAME(scan), DK_NAME(digest)};
