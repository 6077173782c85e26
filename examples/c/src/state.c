#include "driver.h"

#include <string.h>

static bool refused(const wasi_keyvalue_store_error_t *why, dockside_driver_types_error_t *error) {
    text_t reason = why->tag == WASI_KEYVALUE_STORE_ERROR_OTHER ? why->val.other : text("no access");
    return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_OTHER, TEXT(text("the state of the plugin: "), reason));
}

/* The one bucket that there is. Closed with the instance. */
static bool open_bucket(wasi_keyvalue_store_borrow_bucket_t *bucket, dockside_driver_types_error_t *error) {
    text_t name = text("");
    wasi_keyvalue_store_own_bucket_t own;
    wasi_keyvalue_store_error_t why;
    if (!wasi_keyvalue_store_open(&name, &own, &why)) return refused(&why, error);
    *bucket = wasi_keyvalue_store_borrow_bucket(own);
    return true;
}

bool state_get(text_t key, bool *found, text_t *value, dockside_driver_types_error_t *error) {
    wasi_keyvalue_store_borrow_bucket_t bucket;
    wasi_keyvalue_store_error_t why;
    plugin_option_list_u8_t bytes;
    if (!open_bucket(&bucket, error)) return false;
    if (!wasi_keyvalue_store_method_bucket_get(bucket, &key, &bytes, &why)) return refused(&why, error);
    *found = bytes.is_some;
    if (bytes.is_some) *value = (text_t){bytes.val.ptr, bytes.val.len};
    return true;
}

bool state_set(text_t key, text_t value, dockside_driver_types_error_t *error) {
    wasi_keyvalue_store_borrow_bucket_t bucket;
    wasi_keyvalue_store_error_t why;
    plugin_list_u8_t bytes = {value.ptr, value.len};
    if (!open_bucket(&bucket, error)) return false;
    return wasi_keyvalue_store_method_bucket_set(bucket, &key, &bytes, &why) || refused(&why, error);
}

bool state_delete(text_t key, dockside_driver_types_error_t *error) {
    wasi_keyvalue_store_borrow_bucket_t bucket;
    wasi_keyvalue_store_error_t why;
    if (!open_bucket(&bucket, error)) return false;
    return wasi_keyvalue_store_method_bucket_delete(bucket, &key, &why) || refused(&why, error);
}

bool state_keys(const char *prefix, plugin_list_string_t *keys, dockside_driver_types_error_t *error) {
    wasi_keyvalue_store_borrow_bucket_t bucket;
    wasi_keyvalue_store_error_t why;
    wasi_keyvalue_store_key_response_t page = {.cursor = {.is_some = false}};
    size_t room = 0;
    *keys = (plugin_list_string_t){NULL, 0};
    if (!open_bucket(&bucket, error)) return false;
    do {
        uint64_t *cursor = page.cursor.is_some ? &page.cursor.val : NULL;
        if (!wasi_keyvalue_store_method_bucket_list_keys(bucket, cursor, &page, &why)) return refused(&why, error);
        for (size_t i = 0; i < page.keys.len; i++) {
            text_t key = page.keys.ptr[i];
            if (!text_starts(key, prefix)) continue;
            if (keys->len == room) {
                room = room ? 2 * room : 16;
                plugin_string_t *more = allocate(room, sizeof *more);
                if (keys->len) memcpy(more, keys->ptr, keys->len * sizeof *more);
                keys->ptr = more;
            }
            size_t skip = strlen(prefix);
            keys->ptr[keys->len++] = (text_t){key.ptr + skip, key.len - skip};
        }
    } while (page.cursor.is_some);
    return true;
}
