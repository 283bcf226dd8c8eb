/* Operations as they are written: literals, and fills where one byte repeats. Included by each level. */

static inline const uint8_t *dk_at(const dk_scan *scan, uint64_t at) {
    return scan->data + (at - scan->base);
}

static void dk_push(dk_scan *scan, dk_op op, dk_op *ops, size_t *count) {
    dk_op *last = &scan->last;
    if (last->length && last->kind == op.kind
        && op.origin == (op.kind == DK_FILL ? last->origin : last->origin + last->length)) {
        last->length += op.length;
        return;
    }
    if (last->length)
        ops[(*count)++] = *last;
    *last = op;
}

/* Remember the first place since the last match that may be in a long run of one byte. */
static inline void dk_look_for_fill(dk_scan *scan, uint64_t start, uint64_t stop) {
    if (scan->hint != DK_NONE)
        return;
    for (uint64_t at = (start + 127) & ~UINT64_C(127); at < stop; at += 128) {
        uint64_t word;
        memcpy(&word, dk_at(scan, at), 8);
        if (word == (word << 8 | word >> 56)) {
            scan->hint = at;
            return;
        }
    }
}

/* The next run of one byte in [literal, emit_to) that is worth an operation; its length or 0. */
static uint64_t dk_next_fill(const dk_scan *scan, uint64_t *begin) {
    uint64_t from = scan->literal, to = scan->emit_to;
    if (scan->hint == DK_NONE)
        return 0;
    uint64_t at = ((from > scan->hint ? from : scan->hint) + 127) & ~UINT64_C(127);
    while (at < to && to - at >= 8) {
        uint64_t word;
        memcpy(&word, dk_at(scan, at), 8);
        if (word != (word << 8 | word >> 56)) {
            at += 128;
            continue;
        }
        uint8_t byte = *dk_at(scan, at);
        uint64_t first = at, last = at + 8;
        while (first > from && *dk_at(scan, first - 1) == byte)
            first--;
        for (uint64_t next; to - last >= 8; last += 8) {
            memcpy(&next, dk_at(scan, last), 8);
            if (next != word)
                break;
        }
        while (last < to && *dk_at(scan, last) == byte)
            last++;
        if (last - first >= DK_FILL_BYTES_MIN) {
            *begin = first;
            return last - first;
        }
        at = (last + 127) & ~UINT64_C(127);
    }
    return 0;
}

/* Emit what lies before emit_to as literals and fills: 1, or 0 when there is no room for more. */
static int dk_emit(dk_scan *scan, dk_op *ops, size_t room, size_t *count) {
    while (scan->literal < scan->emit_to) {
        if (room - *count < 3)
            return 0;
        uint64_t begin = scan->emit_to, length = dk_next_fill(scan, &begin);
        if (begin > scan->literal)
            dk_push(scan, (dk_op){scan->literal, scan->literal, begin - scan->literal, DK_LITERAL, 0},
                    ops, count);
        if (length)
            dk_push(scan, (dk_op){begin, *dk_at(scan, begin), length, DK_FILL, 0}, ops, count);
        scan->literal = begin + length;
    }
    return 1;
}
