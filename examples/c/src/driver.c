#include "driver.h"

#include <stdlib.h>
#include <string.h>

void *allocate(size_t count, size_t size) {
    /* The result of malloc(0) may be null, which would look like a failure. */
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory) __builtin_trap();
    return memory;
}

text_t text(const char *literal) {
    return (text_t){(uint8_t *)literal, strlen(literal)};
}

text_t text_copy(text_t from) {
    text_t copy = {allocate(from.len, 1), from.len};
    if (from.len) memcpy(copy.ptr, from.ptr, from.len);
    return copy;
}

text_t text_of(const text_t *pieces, size_t count) {
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += pieces[i].len;
    text_t whole = {allocate(length, 1), 0};
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len) memcpy(whole.ptr + whole.len, pieces[i].ptr, pieces[i].len);
        whole.len += pieces[i].len;
    }
    return whole;
}

bool text_equals(text_t a, text_t b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool text_starts(text_t whole, const char *prefix) {
    size_t length = strlen(prefix);
    return whole.len >= length && memcmp(whole.ptr, prefix, length) == 0;
}

bool fail(dockside_driver_types_error_t *error, dockside_driver_types_error_code_t code, text_t message) {
    error->code = code;
    /* The generated code frees it. */
    error->message = text_copy(message);
    return false;
}

void log_info(const char *context, text_t message) {
    text_t part = text(context);
    wasi_logging_logging_log(WASI_LOGGING_LOGGING_LEVEL_INFO, &part, &message);
}
