{% if authz %}
#include "json.h"

#include <string.h>

static bool is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static size_t skip_space(json_t in, size_t at) {
    while (at < in.len && is_space(in.ptr[at])) at++;
    return at;
}

/* Where the value that begins here ends. Depth is counted, so that no nesting is too deep. */
static size_t skip_value(json_t in, size_t at) {
    size_t depth = 0;
    bool quoted = false;
    for (; at < in.len; at++) {
        uint8_t byte = in.ptr[at];
        if (quoted) {
            if (byte == '\\') at++;
            else if (byte == '"') quoted = false;
        } else if (byte == '"') {
            quoted = true;
        } else if (byte == '{' || byte == '[') {
            depth++;
        } else if (depth == 0 && (byte == ',' || byte == ':' || byte == '}' || byte == ']')) {
            break;
        } else if (byte == '}' || byte == ']') {
            depth--;
        }
    }
    return at < in.len ? at : in.len;
}

static json_t piece(json_t in, size_t from, size_t to) {
    while (to > from && is_space(in.ptr[to - 1])) to--;
    return (json_t){in.ptr + from, to - from};
}

json_t json_parse(text_t document) {
    return piece(document, skip_space(document, 0), document.len);
}

bool json_next(json_t list, size_t *position, json_t *item) {
    if (list.len == 0 || list.ptr[0] != '[') return false;
    size_t from = skip_space(list, *position ? *position : 1);
    if (from >= list.len || list.ptr[from] == ']') return false;
    size_t to = skip_value(list, from);
    *item = piece(list, from, to);
    *position = to < list.len && list.ptr[to] == ',' ? to + 1 : to;
    return item->len > 0;
}

json_t json_member(json_t object, const char *key) {
    size_t at = 1;
    while (object.len && object.ptr[0] == '{' && at < object.len) {
        size_t from = skip_space(object, at), colon = skip_value(object, from);
        if (colon >= object.len || object.ptr[colon] != ':') break;
        size_t value = skip_space(object, colon + 1), end = skip_value(object, value);
        text_t name;
        if (json_string(piece(object, from, colon), &name) && text_equals(name, text(key))) return piece(object, value, end);
        at = end + 1;
    }
    return (json_t){NULL, 0};
}

bool json_is_false(json_t value) {
    return !value.len || text_equals(value, text("false")) || text_equals(value, text("null"));
}

static unsigned hex_digits(const uint8_t *digits) {
    unsigned number = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = digits[i] | 0x20;
        number = number * 16 + (digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    return number;
}

static size_t utf8(unsigned code, uint8_t *to) {
    if (code < 0x80) return to[0] = (uint8_t)code, 1;
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    to[0] = (uint8_t)((0xf0 << (3 - more)) | (code >> (6 * more)));
    for (size_t i = 1; i <= more; i++) to[i] = 0x80 | ((code >> (6 * (more - i))) & 0x3f);
    return more + 1;
}

bool json_string(json_t value, text_t *string) {
    if (value.len < 2 || value.ptr[0] != '"') return false;
    *string = (text_t){allocate(value.len, 1), 0};
    for (size_t at = 1; at < value.len - 1; at++) {
        if (value.ptr[at] != '\\') {
            string->ptr[string->len++] = value.ptr[at];
            continue;
        }
        const char *short_forms = "\"\\/bfnrt", *meanings = "\"\\/\b\f\n\r\t";
        const char *form = strchr(short_forms, value.ptr[++at]);
        if (form && *form) {
            string->ptr[string->len++] = (uint8_t)meanings[form - short_forms];
        } else if (at + 4 < value.len) {
            unsigned code = hex_digits(value.ptr + at + 1);
            at += 4;
            if (code >= 0xd800 && code < 0xdc00 && at + 6 < value.len) {
                code = 0x10000 + ((code - 0xd800) << 10) + (hex_digits(value.ptr + at + 3) - 0xdc00);
                at += 6;
            }
            string->len += utf8(code, string->ptr + string->len);
        }
    }
    return true;
}
{% endif %}
