/* A sample policy: privileged containers and directories of this machine in containers are for administrators. */
#include "driver.h"
#include "json.h"

#include <string.h>

typedef exports_dockside_driver_authz_request_t request_t;
typedef exports_dockside_driver_authz_decision_t decision_t;

/* Whether the common name is one of those in `administrators`, which the operator wrote under [config], with commas between. */
static bool is_administrator(text_t user, bool *is, dockside_driver_types_error_t *error) {
    text_t key = text("administrators");
    plugin_option_string_t names;
    wasi_config_store_error_t why;
    *is = false;
    if (!wasi_config_store_get(&key, &names, &why))
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_UNAVAILABLE, text("the configuration cannot be read"));
    if (!names.is_some || user.len == 0) return true;
    const uint8_t *at = names.val.ptr, *end = at + names.val.len;
    while (at <= end && !*is) {
        const uint8_t *comma = at;
        while (comma < end && *comma != ',') comma++;
        const uint8_t *from = at, *to = comma;
        while (from < to && *from == ' ') from++;
        while (to > from && to[-1] == ' ') to--;
        *is = text_equals(user, (text_t){(uint8_t *)from, (size_t)(to - from)});
        at = comma + 1;
    }
    return true;
}

/* Whether the request is for this path. A `*` is for one name. */
static bool is_for(const request_t *request, const char *method, const char *const *path, size_t parts) {
    if (!text_equals(request->method, text(method)) || request->path.len != parts) return false;
    for (size_t i = 0; i < parts; i++)
        if (strcmp(path[i], "*") != 0 && !text_equals(request->path.ptr[i], text(path[i]))) return false;
    return true;
}

/* Whether a container gets a directory of this machine: `-v /path:...` or `--mount type=bind`. */
static bool has_bind_mount(json_t host_config) {
    json_t item;
    text_t string;
    for (size_t at = 0; json_next(json_member(host_config, "Binds"), &at, &item);)
        if (json_string(item, &string) && text_starts(string, "/")) return true;
    for (size_t at = 0; json_next(json_member(host_config, "Mounts"), &at, &item);)
        if (json_string(json_member(item, "Type"), &string) && text_equals(string, text("bind"))) return true;
    return false;
}

/* Why the request is denied; null if it is not. */
static const char *denial(const request_t *request) {
    static const char *const create[] = {"containers", "create"}, *const exec[] = {"containers", "*", "exec"};
    bool creates = is_for(request, "POST", create, 2), executes = is_for(request, "POST", exec, 3);
    if (!creates && !executes) return NULL;
    if (request->body.tag != EXPORTS_DOCKSIDE_DRIVER_AUTHZ_REQUEST_BODY_JSON)
        return "the request has no body that could be judged";
    json_t body = json_parse(request->body.val.json);
    json_t host_config = json_member(body, "HostConfig");
    if (json_is_true(json_member(executes ? body : host_config, "Privileged")))
        return "privileged containers are for administrators";
    if (creates && has_bind_mount(host_config))
        return "directories of this machine are for administrators: use a volume";
    return NULL;
}

bool exports_dockside_driver_authz_authz_req(request_t *request, decision_t *ret, exports_dockside_driver_authz_error_t *error) {
    bool administrator = false;
    if (request->user.is_some && !is_administrator(request->user.val, &administrator, error)) return false;
    const char *why = administrator ? NULL : denial(request);
    ret->tag = why ? EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_DENY : EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_ALLOW;
    if (why) {
        ret->val.deny = text_copy(text(why));
        log_info("authz", TEXT(text("denied "), request->uri, text(": "), text(why)));
    }
    return true;
}

bool exports_dockside_driver_authz_authz_res(request_t *request, exports_dockside_driver_authz_response_t *response,
                                             decision_t *ret, exports_dockside_driver_authz_error_t *error) {
    (void)request, (void)response, (void)error;
    ret->tag = EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_ALLOW;
    return true;
}
