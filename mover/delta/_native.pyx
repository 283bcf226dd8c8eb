# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The binding of the C kernel: buffers in, bytes out, the GIL released around each call."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "native/delta.h" nogil:
    enum: DK_ERROR_CALLBACK
    enum: DK_ERROR_GAP
    enum: DK_DONE

    ctypedef struct dk_op:
        uint64_t start

    ctypedef struct dk_head:
        uint64_t size
        uint64_t seed
        uint64_t key_mask
        uint32_t block
        uint32_t blocks
        uint32_t strong_bytes
        uint32_t bits
        uint32_t anchors_max

    ctypedef struct dk_index:
        dk_head head
        const uint32_t *anchors
        const uint64_t *keys
        const uint8_t *digests
        uint32_t *filter
        uint32_t *directory
        uint32_t *order

    ctypedef int (*dk_equal)(void *, uint32_t, const uint8_t *, size_t) noexcept nogil

    ctypedef struct dk_scan:
        const uint8_t *data
        uint64_t base
        uint64_t end
        uint64_t start
        uint64_t stop
        dk_equal equal
        void *context
        uint64_t hashed
        uint64_t failed
        uint64_t runs
        uint32_t phase

    ctypedef struct dk_engine:
        const char *name
        void (*prepare)(dk_head *) noexcept nogil
        int64_t (*sign)(const dk_head *, const uint8_t *, size_t, uint32_t *, uint64_t *, uint8_t *) noexcept nogil
        int64_t (*scan)(const dk_index *, dk_scan *, dk_op *, size_t) noexcept nogil
        void (*digest)(const uint8_t *, size_t, uint64_t, uint8_t *) noexcept nogil

    const dk_engine *dk_engine_at(int rank)
    uint32_t dk_anchor_bits(uint32_t block)
    uint64_t dk_wrong_anchors(const dk_index *index)
    void dk_build(dk_index *index)
    int64_t dk_join(dk_op *ops, size_t count)
    size_t dk_differ(
        const uint8_t *old, const uint8_t *changed, size_t count, uint32_t width, int subtract,
        uint8_t *gaps, size_t *gap_bytes, uint8_t *planes)
    int64_t dk_change(
        uint8_t *data, size_t count, uint32_t width, int subtract, const uint8_t *gaps,
        size_t gap_bytes, const uint8_t *planes, size_t told)

OP_BYTES = 32
cdef size_t ROOM = 2048  # operations that one call of the scan may return
cdef uint64_t BLOCKS_MAX = 0xFFFFFFF0


def levels():
    """The names of the engines that this processor can run, best first."""
    names = []
    while dk_engine_at(len(names)) != NULL:
        names.append(dk_engine_at(len(names)).name.decode())
    return tuple(names)


cdef const dk_engine *engine_of(str level) except NULL:
    if not level:
        return dk_engine_at(0)
    for rank, name in enumerate(levels()):
        if name == level:
            return dk_engine_at(rank)
    raise ValueError(f"this processor has no level {level!r}")


cdef int fill_head(
    dk_head *head, const dk_engine *engine, uint64_t size, uint64_t block, uint32_t strong_bytes,
    uint64_t seed, uint32_t key_bytes,
) except -1:
    memset(head, 0, sizeof(dk_head))
    if not 64 <= block < 1 << 31:
        raise ValueError(f"no block size: {block} bytes")
    if (size + block - 1) // block > BLOCKS_MAX:
        raise ValueError(f"{size} bytes have too many blocks of {block}")
    if not 2 <= key_bytes <= 8:
        raise ValueError(f"no key has {key_bytes} bytes")
    head.size, head.block, head.seed, head.strong_bytes = size, block, seed, strong_bytes
    head.key_mask = <uint64_t>0xFFFFFFFFFFFFFFFF >> (64 - 8 * key_bytes)
    head.blocks = (size + block - 1) // block
    head.bits = dk_anchor_bits(block)
    head.anchors_max = max(64, 8192 >> head.bits)
    engine.prepare(head)
    return 0


def sign(
    data, uint64_t block, uint32_t strong_bytes, uint64_t seed, *, uint32_t key_bytes=8, digests=True,
    level="",
):
    """Columns of the blocks of ``data``: anchors, keys and, if asked for, XXH3-128 digests."""
    cdef const dk_engine *engine = engine_of(level)
    cdef dk_head head
    cdef Py_buffer view
    cdef uint8_t *digest = NULL
    if digests and not 1 <= strong_bytes <= 16:
        raise ValueError(f"XXH3-128 has no {strong_bytes} bytes")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        fill_head(&head, engine, view.len, block, strong_bytes, seed, key_bytes)
        anchors = PyBytes_FromStringAndSize(NULL, 4 * <Py_ssize_t>head.blocks)
        keys = PyBytes_FromStringAndSize(NULL, 8 * <Py_ssize_t>head.blocks)
        strong = PyBytes_FromStringAndSize(NULL, strong_bytes * <Py_ssize_t>head.blocks if digests else 0)
        if digests:
            digest = <uint8_t *>PyBytes_AS_STRING(strong)
        anchor, key = PyBytes_AS_STRING(anchors), PyBytes_AS_STRING(keys)
        sign_into(engine, &head, &view, anchor, key, digest)
    finally:
        PyBuffer_Release(&view)
    return anchors, keys, strong


cdef void sign_into(
    const dk_engine *engine, dk_head *head, Py_buffer *view, char *anchors, char *keys, uint8_t *digests
) noexcept:
    with nogil:
        engine.sign(head, <const uint8_t *>view.buf, view.len, <uint32_t *>anchors, <uint64_t *>keys, digests)


def digest(data, uint64_t seed=0, *, level=""):
    """The whole seeded XXH3-128 of ``data``, 16 bytes, big-endian."""
    cdef const dk_engine *engine = engine_of(level)
    cdef Py_buffer view
    made = PyBytes_FromStringAndSize(NULL, 16)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(made)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        engine.digest(<const uint8_t *>view.buf, view.len, seed, out)
    PyBuffer_Release(&view)
    return made


cdef class Index:
    """The columns of a signature and what finds a block by its key. Immutable when it is made.

    ``equal(block, bytes)`` decides whether a block is equal where the digest is not XXH3-128.
    """

    cdef dk_index inner
    cdef const dk_engine *engine
    cdef object equal
    cdef tuple held

    def __cinit__(
        self, uint64_t size, uint64_t block, uint32_t strong_bytes, uint64_t seed,
        bytes anchors, bytes keys, bytes digests, *, uint32_t key_bytes=8, equal=None, level="",
    ):
        self.engine = engine_of(level)
        fill_head(&self.inner.head, self.engine, size, block, strong_bytes, seed, key_bytes)
        cdef uint64_t blocks = self.inner.head.blocks
        if (len(anchors), len(keys), len(digests)) != (4 * blocks, 8 * blocks, strong_bytes * blocks):
            raise ValueError(f"the columns are not of {blocks} blocks")
        if equal is None and not 1 <= strong_bytes <= 16:
            raise ValueError(f"XXH3-128 has no {strong_bytes} bytes")
        words = tuple(bytearray(4 * count) for count in (blocks, blocks + 1, blocks))
        self.inner.anchors = <const uint32_t *>PyBytes_AS_STRING(anchors)
        self.inner.keys = <const uint64_t *>PyBytes_AS_STRING(keys)
        self.inner.digests = <const uint8_t *>PyBytes_AS_STRING(digests)
        self.inner.filter = <uint32_t *>PyByteArray_AS_STRING(words[0])
        self.inner.directory = <uint32_t *>PyByteArray_AS_STRING(words[1])
        self.inner.order = <uint32_t *>PyByteArray_AS_STRING(words[2])
        self.equal, self.held = equal, (anchors, keys, digests, words)
        cdef uint64_t wrong = dk_wrong_anchors(&self.inner)
        if wrong:  # a signature may come from anywhere
            raise ValueError(f"{wrong} anchors are not in their blocks")
        with nogil:
            dk_build(&self.inner)

    @property
    def memory_bytes(self):
        """What the columns and the index take."""
        anchors, keys, digests, words = self.held
        return len(anchors) + len(keys) + len(digests) + sum(len(word) for word in words)

    def scan(self, data, uint64_t base, uint64_t start, uint64_t stop):
        """The operations of one segment [start, stop), and (hashed, failed, runs).

        ``data`` begins at ``base``, and reaches a block behind ``stop`` or to the end of the object.
        """
        cdef dk_scan scan
        cdef Py_buffer view
        memset(&scan, 0, sizeof(scan))
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            scan.data, scan.base, scan.end = <const uint8_t *>view.buf, base, base + view.len
            scan.start, scan.stop = start, stop
            if not base <= start <= stop <= scan.end:
                raise ValueError(f"no segment of the data: {start} to {stop}")
            call = Call(self.equal)
            if self.equal is not None:
                scan.equal, scan.context = asked, <void *>call
            return self.run(&scan, call), (scan.hashed, scan.failed, scan.runs)
        finally:
            PyBuffer_Release(&view)

    cdef bytes run(self, dk_scan *scan, Call call):
        cdef int64_t count
        cdef dk_op *room
        parts = []
        while scan.phase != DK_DONE:
            part = bytearray(32 * ROOM)
            room = <dk_op *>PyByteArray_AS_STRING(part)
            with nogil:
                count = self.engine.scan(&self.inner, scan, room, ROOM)
            if count == DK_ERROR_CALLBACK:
                raise call.error
            if count < 0:
                raise RuntimeError(f"the kernel refused: {count}")
            parts.append(part[: 32 * count])
        return b"".join(parts)


cdef class Call:
    """A Python decision that the kernel asks for, and the error it may end in."""

    cdef object equal
    cdef object error

    def __cinit__(self, equal):
        self.equal = equal


cdef int asked(void *context, uint32_t block, const uint8_t *data, size_t length) noexcept with gil:
    call = <Call>context
    try:
        return 1 if call.equal(block, <bytes>data[:length]) else 0
    except BaseException as error:
        call.error = error
        return DK_ERROR_CALLBACK


def join(bytearray ops):
    """Operations as one canonical list, in place; the earlier stays where two overlap."""
    if len(ops) % 32:
        raise ValueError("the operations end in the middle of one")
    cdef size_t count = len(ops) // 32
    cdef dk_op *room = <dk_op *>PyByteArray_AS_STRING(ops)
    cdef int64_t kept
    with nogil:
        kept = dk_join(room, count)
    if kept == DK_ERROR_GAP:
        raise ValueError("a gap between operations")
    return bytes(memoryview(ops)[: 32 * kept])


def differ(old, changed, uint32_t width, bint subtract):
    """Which elements of ``changed`` differ from ``old``, and by what: gaps, and a plane for each byte."""
    cdef Py_buffer before
    cdef Py_buffer after
    if width not in (2, 4):
        raise ValueError(f"no elements of {width} bytes")
    PyObject_GetBuffer(old, &before, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(changed, &after, PyBUF_SIMPLE)
        try:
            if before.len != after.len or after.len % width:
                raise ValueError(f"{before.len} and {after.len} bytes are not as many elements of {width}")
            return differences(&before, &after, width, subtract)
        finally:
            PyBuffer_Release(&after)
    finally:
        PyBuffer_Release(&before)


cdef tuple differences(Py_buffer *before, Py_buffer *after, uint32_t width, bint subtract):
    cdef size_t count = after.len // width
    cdef size_t gap_bytes = 0
    cdef size_t found
    gaps, planes = bytearray(count + count // 255 + 1), bytearray(after.len)
    cdef uint8_t *gap = <uint8_t *>PyByteArray_AS_STRING(gaps)
    cdef uint8_t *plane = <uint8_t *>PyByteArray_AS_STRING(planes)
    with nogil:
        found = dk_differ(
            <const uint8_t *>before.buf, <const uint8_t *>after.buf, count, width, subtract,
            gap, &gap_bytes, plane)
    return bytes(memoryview(gaps)[:gap_bytes]), tuple(
        bytes(memoryview(planes)[place * count : place * count + found]) for place in range(width)
    )


def change(bytearray data, uint32_t width, bint subtract, bytes gaps, bytes planes):
    """Make the new elements of the old ones in place. Raises ``ValueError`` for what leads elsewhere."""
    if width not in (2, 4) or len(data) % width or len(planes) % width:
        raise ValueError(f"they are not elements of {width} bytes")
    cdef uint8_t *place = <uint8_t *>PyByteArray_AS_STRING(data)
    cdef size_t count = len(data) // width
    cdef size_t told = len(planes) // width
    cdef size_t gap_bytes = len(gaps)
    cdef const uint8_t *gap = <const uint8_t *>PyBytes_AS_STRING(gaps)
    cdef const uint8_t *plane = <const uint8_t *>PyBytes_AS_STRING(planes)
    cdef int64_t done
    with nogil:
        done = dk_change(place, count, width, subtract, gap, gap_bytes, plane, told)
    if done < 0:
        raise ValueError("the changes are not of these elements")
