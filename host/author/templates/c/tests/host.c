#include "host.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST 64

/* Texts under texts: the state, the directories and the configuration are all that. */
typedef struct {
    size_t count;
    struct { text_t key, value; } entries[MOST];
} table_t;

static size_t table_find(const table_t *table, text_t key) {
    size_t at = 0;
    while (at < table->count && !text_equals(table->entries[at].key, key)) at++;
    return at;
}

static void table_set(table_t *table, text_t key, text_t value) {
    size_t at = table_find(table, key);
    if (at == MOST) abort();
    if (at == table->count) table->entries[table->count++].key = text_copy(key);
    table->entries[at].value = text_copy(value);
}

{% if volume or network or ipam %}
static bool table_delete(table_t *table, text_t key) {
    size_t at = table_find(table, key);
    if (at == table->count) return false;
    table->entries[at] = table->entries[--table->count];
    return true;
}

{% endif %}
void host_check(bool holds, const char *condition, const char *file, int line) {
    if (holds) return;
    fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, condition);
    exit(1);
}

void host_run(const char *name, void (*test)(void)) {
    host_reset();
    test();
    printf("ok %s\n", name);
}

{% if volume or network or ipam %}
static table_t state;

size_t host_state_count(void) {
    return state.count;
}

bool wasi_keyvalue_store_open(plugin_string_t *identifier, wasi_keyvalue_store_own_bucket_t *ret, wasi_keyvalue_store_error_t *error) {
    ret->__handle = 1;
    error->tag = WASI_KEYVALUE_STORE_ERROR_NO_SUCH_STORE;
    return identifier->len == 0;
}

wasi_keyvalue_store_borrow_bucket_t wasi_keyvalue_store_borrow_bucket(wasi_keyvalue_store_own_bucket_t own) {
    return (wasi_keyvalue_store_borrow_bucket_t){own.__handle};
}

bool wasi_keyvalue_store_method_bucket_get(wasi_keyvalue_store_borrow_bucket_t self, plugin_string_t *key, plugin_option_list_u8_t *ret,
                                           wasi_keyvalue_store_error_t *error) {
    (void)self, (void)error;
    size_t at = table_find(&state, *key);
    ret->is_some = at < state.count;
    if (ret->is_some) ret->val = (plugin_list_u8_t){state.entries[at].value.ptr, state.entries[at].value.len};
    return true;
}

bool wasi_keyvalue_store_method_bucket_set(wasi_keyvalue_store_borrow_bucket_t self, plugin_string_t *key, plugin_list_u8_t *value,
                                           wasi_keyvalue_store_error_t *error) {
    (void)self, (void)error;
    table_set(&state, *key, (text_t){value->ptr, value->len});
    return true;
}

bool wasi_keyvalue_store_method_bucket_delete(wasi_keyvalue_store_borrow_bucket_t self, plugin_string_t *key,
                                              wasi_keyvalue_store_error_t *error) {
    (void)self, (void)error;
    table_delete(&state, *key);
    return true;
}

/* One key a page, so that what does not turn the page is found out. The order is not that of the bytes. */
bool wasi_keyvalue_store_method_bucket_list_keys(wasi_keyvalue_store_borrow_bucket_t self, uint64_t *cursor,
                                                 wasi_keyvalue_store_key_response_t *ret, wasi_keyvalue_store_error_t *error) {
    (void)self, (void)error;
    size_t at = cursor ? (size_t)*cursor : 0;
    ret->keys = (plugin_list_string_t){allocate(1, sizeof(plugin_string_t)), at < state.count};
    if (at < state.count) ret->keys.ptr[0] = text_copy(state.entries[at].key);
    ret->cursor.is_some = at + 1 < state.count;
    ret->cursor.val = at + 1;
    return true;
}

{% endif %}
{% if volume %}
void wasi_logging_logging_log(wasi_logging_logging_level_t level, plugin_string_t *context, plugin_string_t *message) {
    (void)level, (void)context, (void)message;
}

static table_t directories;

void host_lose_directory(const char *key) {
    table_delete(&directories, text(key));
}

bool dockside_host_directories_create(plugin_string_t *key, dockside_host_directories_attributes_t *attributes,
                                      dockside_host_directories_own_directory_t *ret, dockside_host_directories_error_t *error) {
    (void)attributes;
    error->tag = DOCKSIDE_HOST_DIRECTORIES_ERROR_ALREADY_EXISTS;
    if (table_find(&directories, *key) < directories.count) return false;
    table_set(&directories, *key, text(""));
    return dockside_host_directories_open(key, ret, error);
}

bool dockside_host_directories_open(plugin_string_t *key, dockside_host_directories_own_directory_t *ret,
                                    dockside_host_directories_error_t *error) {
    size_t at = table_find(&directories, *key);
    ret->__handle = (int32_t)at + 1;
    error->tag = DOCKSIDE_HOST_DIRECTORIES_ERROR_NOT_FOUND;
    return at < directories.count;
}

bool dockside_host_directories_remove(plugin_string_t *key, dockside_host_directories_error_t *error) {
    error->tag = DOCKSIDE_HOST_DIRECTORIES_ERROR_NOT_FOUND;
    return table_delete(&directories, *key);
}

{% endif %}
{% if network %}
/* Handles are places in this list, counted from 1. A link without key is one that is gone. */
static host_link_t links[MOST];
static size_t link_count;

static host_link_t *find_link(text_t key) {
    for (size_t i = 0; i < link_count; i++)
        if (links[i].key.ptr && text_equals(links[i].key, key)) return &links[i];
    return NULL;
}

const host_link_t *host_link(const char *key) {
    return find_link(text(key));
}

size_t host_link_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < link_count; i++) count += links[i].key.ptr != NULL;
    return count;
}

void host_reboot(void) {
    link_count = 0;
}

static bool make_link(text_t key, text_t peer, const dockside_host_links_settings_t *settings, dockside_host_links_own_link_t *ret,
                      dockside_host_links_error_t *error) {
    error->code = DOCKSIDE_HOST_MACHINE_ERROR_CODE_ALREADY_EXISTS;
    error->message = TEXT(text("there is a link "), key);
    if (find_link(key) || link_count == MOST) return false;
    links[link_count] = (host_link_t){.key = text_copy(key), .peer = text_copy(peer), .mtu = settings->mtu.is_some ? settings->mtu.val : 0};
    ret->__handle = (int32_t)++link_count;
    return true;
}

bool dockside_host_links_create(plugin_string_t *key, dockside_host_links_kind_t *kind, dockside_host_links_settings_t *settings,
                                dockside_host_links_own_link_t *ret, dockside_host_links_error_t *error) {
    (void)kind;
    return make_link(*key, text(""), settings, ret, error);
}

bool dockside_host_links_create_pair(plugin_string_t *key, plugin_string_t *peer, dockside_host_links_settings_t *settings,
                                     dockside_host_links_tuple2_own_link_own_link_t *ret, dockside_host_links_error_t *error) {
    return make_link(*key, *peer, settings, &ret->f0, error) && make_link(*peer, *key, settings, &ret->f1, error);
}

bool dockside_host_links_open(plugin_string_t *key, dockside_host_links_own_link_t *ret, dockside_host_links_error_t *error) {
    const host_link_t *link = find_link(*key);
    error->code = DOCKSIDE_HOST_MACHINE_ERROR_CODE_NOT_FOUND;
    error->message = TEXT(text("there is no link "), *key);
    if (link) ret->__handle = (int32_t)(link - links) + 1;
    return link != NULL;
}

bool dockside_host_links_delete(plugin_string_t *key, dockside_host_links_error_t *error) {
    host_link_t *link = find_link(*key), *peer = link ? find_link(link->peer) : NULL;
    error->code = DOCKSIDE_HOST_MACHINE_ERROR_CODE_NOT_FOUND;
    error->message = TEXT(text("there is no link "), *key);
    if (peer) peer->key.ptr = NULL;
    if (link) link->key.ptr = NULL;
    return link != NULL;
}

dockside_host_links_borrow_link_t dockside_host_links_borrow_link(dockside_host_links_own_link_t own) {
    return (dockside_host_links_borrow_link_t){own.__handle};
}

bool dockside_host_links_method_link_set_master(dockside_host_links_borrow_link_t self, dockside_host_links_borrow_link_t *bridge,
                                                dockside_host_links_error_t *error) {
    (void)error;
    links[self.__handle - 1].master = bridge ? bridge->__handle : 0;
    return true;
}

bool dockside_host_links_method_link_add_address(dockside_host_links_borrow_link_t self, dockside_host_links_cidr_t *address,
                                                 dockside_host_links_error_t *error) {
    (void)address, (void)error;
    links[self.__handle - 1].addresses++;
    return true;
}

void wasi_random_random_get_random_bytes(uint64_t count, plugin_list_u8_t *ret) {
    *ret = (plugin_list_u8_t){allocate(count, 1), count};
    for (uint64_t i = 0; i < count; i++) ret->ptr[i] = (uint8_t)(0xf1 + i);
}

{% endif %}
{% if authz %}
static table_t configuration;

void host_configure(const char *key, const char *value) {
    table_set(&configuration, text(key), text(value));
}

bool wasi_config_store_get(plugin_string_t *key, plugin_option_string_t *ret, wasi_config_store_error_t *error) {
    (void)error;
    size_t at = table_find(&configuration, *key);
    ret->is_some = at < configuration.count;
    if (ret->is_some) ret->val = text_copy(configuration.entries[at].value);
    return true;
}

{% endif %}
void host_reset(void) {
{% if volume or network or ipam %}
    state.count = 0;
{% endif %}
{% if volume %}
    directories.count = 0;
{% endif %}
{% if network %}
    link_count = 0;
{% endif %}
{% if authz %}
    configuration.count = 0;
{% endif %}
}
