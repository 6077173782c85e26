/* Volumes as directories that the host keeps for the plugin. */
#include "driver.h"

#define PREFIX "volumes/"

/* What is remembered of a volume is its mode, as four octal digits. */
static text_t key_of(text_t name) {
    return TEXT(text(PREFIX), name);
}

/* `docker volume create -o mode=0750` */
static bool mode_of(const exports_dockside_driver_volume_list_key_value_t *options, uint32_t *mode,
                    dockside_driver_types_error_t *error) {
    *mode = 0755;
    for (size_t i = 0; i < options->len; i++) {
        text_t name = options->ptr[i].f0, value = options->ptr[i].f1;
        if (!text_equals(name, text("mode")))
            return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT,
                        TEXT(text("there is no option "), name, text(": this driver has mode")));
        bool octal = value.len == 3 || value.len == 4;
        *mode = 0;
        for (size_t at = 0; octal && at < value.len; at++) {
            octal = value.ptr[at] >= '0' && value.ptr[at] <= '7';
            *mode = *mode * 8 + (value.ptr[at] - '0');
        }
        if (!octal)
            return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT,
                        TEXT(text("option mode="), value, text(": say permissions in octal, such as 0750")));
    }
    return true;
}

static text_t octal_of(uint32_t mode) {
    text_t digits = {allocate(4, 1), 4};
    for (int at = 3; at >= 0; at--, mode /= 8) digits.ptr[at] = (uint8_t)('0' + mode % 8);
    return digits;
}

/* A refusal of the host's, as the user of docker is told it. */
static bool refused(const dockside_host_directories_error_t *why, dockside_driver_types_error_t *error) {
    switch (why->tag) {
    case DOCKSIDE_HOST_DIRECTORIES_ERROR_IN_USE:
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, text("something is mounted in the directory of the volume"));
    case DOCKSIDE_HOST_DIRECTORIES_ERROR_QUOTA_EXCEEDED:
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_EXHAUSTED,
                    text("no further directory: raise max in [grants.directories], or remove a volume"));
    case DOCKSIDE_HOST_DIRECTORIES_ERROR_NOT_FOUND:
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_UNAVAILABLE, text("the directory of the volume is gone from this machine"));
    case DOCKSIDE_HOST_DIRECTORIES_ERROR_ALREADY_EXISTS:
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS, text("the directory of the volume exists already"));
    default:
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_OTHER, why->val.other);
    }
}

/* The volume's directory; none if somebody removed it from the machine. */
static bool directory_of(text_t name, exports_dockside_driver_volume_option_own_directory_t *directory,
                         dockside_driver_types_error_t *error) {
    dockside_host_directories_error_t why;
    directory->is_some = dockside_host_directories_open(&name, &directory->val, &why);
    return directory->is_some || why.tag == DOCKSIDE_HOST_DIRECTORIES_ERROR_NOT_FOUND || refused(&why, error);
}

static bool find(text_t name, text_t *mode, dockside_driver_types_error_t *error) {
    bool found;
    if (!state_get(key_of(name), &found, mode, error)) return false;
    return found || fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND, TEXT(text("there is no volume \""), name, text("\"")));
}

void exports_dockside_driver_volume_capabilities(exports_dockside_driver_volume_volume_capabilities_t *ret) {
    ret->scope = DOCKSIDE_DRIVER_TYPES_SCOPE_LOCAL;
}

bool exports_dockside_driver_volume_create(plugin_string_t *name, exports_dockside_driver_volume_list_key_value_t *options,
                                           exports_dockside_driver_volume_error_t *error) {
    uint32_t mode;
    bool exists;
    text_t before;
    if (!mode_of(options, &mode, error)) return false;
    text_t record = octal_of(mode);
    if (!state_get(key_of(*name), &exists, &before, error)) return false;
    if (exists)
        return text_equals(before, record) || fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS,
                                                   TEXT(text("volume \""), *name, text("\" exists already, with other options")));

    dockside_host_directories_attributes_t attributes = {.mode = {.is_some = true, .val = mode}};
    dockside_host_directories_own_directory_t made;
    dockside_host_directories_error_t why;
    if (!dockside_host_directories_create(name, &attributes, &made, &why)) return refused(&why, error);
    if (!state_set(key_of(*name), record, error)) return false;
    log_info("volume", TEXT(text("created "), *name));
    return true;
}

bool exports_dockside_driver_volume_remove(plugin_string_t *name, exports_dockside_driver_volume_error_t *error) {
    bool exists;
    text_t mode;
    if (!state_get(key_of(*name), &exists, &mode, error)) return false;
    if (!exists) return true;
    dockside_host_directories_error_t why;
    if (!dockside_host_directories_remove(name, &why) && why.tag != DOCKSIDE_HOST_DIRECTORIES_ERROR_NOT_FOUND)
        return refused(&why, error);
    return state_delete(key_of(*name), error);
}

bool exports_dockside_driver_volume_mount(plugin_string_t *name, plugin_string_t *id,
                                          exports_dockside_driver_volume_own_directory_t *ret,
                                          exports_dockside_driver_volume_error_t *error) {
    (void)id;
    text_t mode;
    exports_dockside_driver_volume_option_own_directory_t directory;
    if (!find(*name, &mode, error) || !directory_of(*name, &directory, error)) return false;
    if (!directory.is_some)
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_UNAVAILABLE,
                    TEXT(text("the directory of volume \""), *name, text("\" is gone from this machine")));
    *ret = directory.val;
    return true;
}

bool exports_dockside_driver_volume_unmount(plugin_string_t *name, plugin_string_t *id,
                                            exports_dockside_driver_volume_error_t *error) {
    (void)name, (void)id, (void)error;
    return true;
}

bool exports_dockside_driver_volume_get(plugin_string_t *name, exports_dockside_driver_volume_volume_info_t *ret,
                                        exports_dockside_driver_volume_error_t *error) {
    text_t mode;
    *ret = (exports_dockside_driver_volume_volume_info_t){.name = text_copy(*name)};
    if (!find(*name, &mode, error) || !directory_of(*name, &ret->mountpoint, error)) return false;
    ret->status.ptr = allocate(1, sizeof *ret->status.ptr);
    ret->status.len = 1;
    ret->status.ptr[0].f0 = text_copy(text("mode"));
    ret->status.ptr[0].f1 = text_copy(mode);
    return true;
}

bool exports_dockside_driver_volume_list(exports_dockside_driver_volume_list_volume_info_t *ret,
                                         exports_dockside_driver_volume_error_t *error) {
    plugin_list_string_t names;
    if (!state_keys(PREFIX, &names, error)) return false;
    ret->len = names.len;
    ret->ptr = allocate(names.len, sizeof *ret->ptr);
    for (size_t i = 0; i < names.len; i++) ret->ptr[i].name = text_copy(names.ptr[i]);
    return true;
}

bool exports_dockside_driver_volume_path(plugin_string_t *name, exports_dockside_driver_volume_option_own_directory_t *ret,
                                         exports_dockside_driver_volume_error_t *error) {
    text_t mode;
    return find(*name, &mode, error) && directory_of(*name, ret, error);
}
