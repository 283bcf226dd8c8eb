# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Reading rows of one form, at the speed of ``memchr``."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp

cdef enum:
    BORDERS_MAX = 32
    SIZE_DIGITS_MAX = 18

cdef extern from "Python.h":
    object PyType_GenericAlloc(type kind, Py_ssize_t length)
    void PyTuple_SET_ITEM(object row, Py_ssize_t place, object stolen)

cdef struct Text:
    const char *start
    Py_ssize_t length


cdef class Form:
    """What stands before, between and behind the texts of a row, and between two rows.

    A row is ``borders[0]``, a text, ``borders[1]``, a text, and so on to the last border; a text holds no
    "<", and every border but the first holds one. Raises ``ValueError`` for borders that cannot be.
    """

    cdef tuple _borders
    cdef bytes _gap
    cdef Py_ssize_t _count
    cdef const char *_heads[BORDERS_MAX]
    cdef Py_ssize_t _lengths[BORDERS_MAX]
    cdef Py_ssize_t _leads[BORDERS_MAX]  # characters of a border before its "<"

    def __init__(self, tuple borders, bytes gap):
        cdef Py_ssize_t number
        cdef bytes border
        if not 2 <= len(borders) <= BORDERS_MAX:
            raise ValueError(f"{len(borders)} borders")
        for number in range(len(borders)):
            border = borders[number]
            self._heads[number] = PyBytes_AS_STRING(border)
            self._lengths[number] = PyBytes_GET_SIZE(border)
            self._leads[number] = border.find(b"<")
            if number and self._leads[number] < 0:
                raise ValueError(f"no tag in {border!r}")
        self._borders, self._gap, self._count = borders, gap, len(borders)

    cdef const char *_take(self, const char *at, const char *end, Text *texts) noexcept:
        """Find the texts of the row at ``at``; where the next one begins, NULL for no such row."""
        cdef const char *tag
        cdef Py_ssize_t number
        if end - at < self._lengths[0] or memcmp(at, self._heads[0], self._lengths[0]):
            return NULL
        at += self._lengths[0]
        for number in range(1, self._count):
            tag = <const char *>memchr(at, c"<", end - at)
            if tag == NULL or tag - at < self._leads[number]:
                return NULL
            texts[number - 1].start = at
            texts[number - 1].length = tag - self._leads[number] - at
            at = tag - self._leads[number]
            if end - at < self._lengths[number]:
                return NULL
            if memcmp(at, self._heads[number], self._lengths[number]):
                return NULL
            at += self._lengths[number]
        if at < end:
            if end - at < PyBytes_GET_SIZE(self._gap):
                return NULL
            if memcmp(at, PyBytes_AS_STRING(self._gap), PyBytes_GET_SIZE(self._gap)):
                return NULL
            at += PyBytes_GET_SIZE(self._gap)
        return at

    def _check(self, bytes data, Py_ssize_t start, Py_ssize_t stop, tuple wanted):
        if not 0 <= start <= stop <= PyBytes_GET_SIZE(data):
            raise ValueError("rows outside of the data")
        if not all(0 <= place < self._count - 1 for place in wanted):
            raise ValueError(f"no such texts: {wanted!r}")

    def columns(self, bytes data, Py_ssize_t start, Py_ssize_t stop, tuple wanted):
        """The wanted texts of the rows that are ``data[start:stop]``; None where these are not such rows.

        ``wanted`` counts a row's texts from 0; each gives a list of str. Raises ``UnicodeDecodeError`` for
        one that is not UTF-8.
        """
        self._check(data, start, stop, wanted)
        cdef const char *at = PyBytes_AS_STRING(data) + start
        cdef const char *end = PyBytes_AS_STRING(data) + stop
        cdef Text texts[BORDERS_MAX]
        cdef Text text
        cdef list found = [[] for _ in wanted]
        cdef Py_ssize_t place
        while at < end:
            at = self._take(at, end, texts)
            if at == NULL:
                return None
            for place in range(len(wanted)):
                text = texts[<Py_ssize_t>wanted[place]]
                (<list>found[place]).append(PyUnicode_DecodeUTF8(<char *>text.start, text.length, NULL))
        return found

    def entries(
        self,
        bytes data,
        Py_ssize_t start,
        Py_ssize_t stop,
        tuple wanted,
        type entry,
        object kind,
        bint decode,
    ):
        """The rows as entries, where every one of them is a plain object; None for other rows.

        ``wanted`` are the places of key, moment, etag and size; ``entry`` is a named tuple of key, size,
        mtime, etag, version, kind and time of change. Not plain are texts with entities or, with
        ``decode``, quoted keys; empty objects; moments in any form but ``2024-01-31T00:00:00.000Z``.
        """
        self._check(data, start, stop, wanted)
        if len(wanted) != 4 or not issubclass(entry, tuple):
            raise ValueError("entries are tuples made of four texts")
        cdef const char *at = PyBytes_AS_STRING(data) + start
        cdef const char *end = PyBytes_AS_STRING(data) + stop
        cdef Py_ssize_t key_at = wanted[0], moment_at = wanted[1]
        cdef Py_ssize_t etag_at = wanted[2], size_at = wanted[3]
        cdef Text texts[BORDERS_MAX]
        cdef int64_t size, past_ms
        cdef list found = []
        cdef object row, instant
        while at < end:
            at = self._take(at, end, texts)
            if at == NULL:
                return None
            size, past_ms = _number(texts[size_at]), _moment_ms(texts[moment_at])
            if size <= 0 or past_ms < 0 or not _is_plain(texts[etag_at], b'&"'):
                return None
            if not texts[key_at].length or not _is_plain(texts[key_at], b"&%+" if decode else b"&"):
                return None
            row = PyType_GenericAlloc(entry, 7)
            instant = past_ms * 1_000_000
            _put(row, 0, PyUnicode_DecodeUTF8(<char *>texts[key_at].start, texts[key_at].length, NULL))
            _put(row, 1, size)
            _put(row, 2, instant)
            _put(row, 3, PyUnicode_DecodeUTF8(<char *>texts[etag_at].start, texts[etag_at].length, NULL))
            _put(row, 4, "")
            _put(row, 5, kind)
            _put(row, 6, instant)
            found.append(row)
        return found


cdef inline void _put(object row, Py_ssize_t place, object value):
    Py_INCREF(value)
    PyTuple_SET_ITEM(row, place, value)


cdef inline bint _is_plain(Text text, const char *specials) noexcept:
    while specials[0]:
        if memchr(text.start, specials[0], text.length) != NULL:
            return False
        specials += 1
    return True


cdef inline int64_t _number(Text text) noexcept:
    """The decimal number that a text is, -1 for any other text."""
    cdef int64_t value = 0
    cdef Py_ssize_t place
    if not 0 < text.length <= SIZE_DIGITS_MAX:
        return -1
    for place in range(text.length):
        if not c"0" <= text.start[place] <= c"9":
            return -1
        value = value * 10 + text.start[place] - c"0"
    return value


cdef inline int64_t _digits(const char *at, Py_ssize_t length) noexcept:
    cdef Text text
    text.start, text.length = at, length
    return _number(text)


cdef int64_t _moment_ms(Text text) noexcept:
    """``2024-01-31T00:00:00.000Z`` as milliseconds since 1970; -1 for any other form or before that.

    The days are counted as in the proleptic Gregorian calendar, years beginning in March
    (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil).
    """
    cdef const char *at = text.start
    cdef int64_t year, month, day, hour, minute, second, past_ms, shifted, days
    if text.length != 24 or at[4] != c"-" or at[7] != c"-" or at[10] != c"T" or at[23] != c"Z":
        return -1
    if at[13] != c":" or at[16] != c":" or at[19] != c".":
        return -1
    year, month, day = _digits(at, 4), _digits(at + 5, 2), _digits(at + 8, 2)
    hour, minute = _digits(at + 11, 2), _digits(at + 14, 2)
    second, past_ms = _digits(at + 17, 2), _digits(at + 20, 3)
    # The nanoseconds of later years are no int64. The last day of a leap February is rare enough.
    if not 1970 <= year < 2262 or not 1 <= month <= 12 or not 1 <= day <= 31 or (day > 28 and month == 2):
        return -1
    if day == 31 and (month == 4 or month == 6 or month == 9 or month == 11):
        return -1
    if not 0 <= hour < 24 or not 0 <= minute < 60 or not 0 <= second < 60 or past_ms < 0:
        return -1
    shifted = year - (month <= 2)
    days = (
        365 * shifted + shifted // 4 - shifted // 100 + shifted // 400
        + (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 719469
    )
    return ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + past_ms
