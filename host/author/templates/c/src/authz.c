/* A sample policy: nobody but the administrators gets a privileged container, a part of the machine's file system, or what cannot be judged. */
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

/* Whether the path is this one, with slashes between its parts. A `*` is for one part, `**` at the end for some: the names of images have
   slashes. */
static bool is_for(const request_t *request, const char *path) {
    for (size_t i = 0; i < request->path.len; i++) {
        size_t length = strcspn(path, "/");
        if (!strcmp(path, "**")) return true;
        bool any = length == 1 && *path == '*';
        if (!any && !text_equals(request->path.ptr[i], (text_t){(uint8_t *)path, length})) return false;
        path += length + (path[length] == '/');
        if (!*path) return i + 1 == request->path.len;
    }
    return false;
}

/* Why a request is denied: an empty text if it is not. Docker's field names come in Docker's spelling, each once. */
static text_t container_objection(json_t content) {
    static const char *const spaces[] = {"PidMode", "IpcMode", "UTSMode", "UsernsMode", "NetworkMode", "CgroupnsMode"};
    json_t host = json_member(content, "HostConfig"), item;
    text_t said;
    if (!json_is_false(json_member(host, "Privileged"))) return text("privileged containers are not allowed");
    for (size_t at = 0; json_next(json_member(host, "Binds"), &at, &item);)
        if (json_string(item, &said) && (text_starts(said, "/") || text_starts(said, "~") || text_starts(said, ".")))
            return text("directories of the machine are not allowed in containers");
    for (size_t at = 0; json_next(json_member(host, "Mounts"), &at, &item);) {
        if (!json_string(json_member(item, "Type"), &said)) said = text("unknown");
        if (!text_equals(said, text("volume")) && !text_equals(said, text("tmpfs")))
            return TEXT(text("mounts of type "), said, text(" are not allowed"));
        json_t options = json_member(json_member(json_member(item, "VolumeOptions"), "DriverConfig"), "Options");
        if (options.len && !text_equals(options, text("null")) && !text_equals(options, text("{}")))
            return text("options for new volumes are not allowed in mounts");
    }
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (json_string(json_member(host, spaces[i]), &said) && text_equals(said, text("host")))
            return TEXT(text(spaces[i]), text(" host is not allowed"));
    return text("");
}

static text_t exec_objection(json_t content) {
    return text(json_is_false(json_member(content, "Privileged")) ? "" : "privileged commands are not allowed");
}

static text_t volume_objection(json_t content) {
    text_t device = text("");
    json_string(json_member(json_member(content, "DriverOpts"), "device"), &device);
    return text(device.len ? "volumes of devices and directories are not allowed" : "");
}

/* The requests that are looked into. */
static const struct {
    const char *path;
    text_t (*objection)(json_t content);
} JUDGED[] = {
    {"containers/create", container_objection},
    {"containers/*/exec", exec_objection},
    {"volumes/create", volume_objection},
};

/* Daily work, which says nothing of the machine. What is on neither list is denied, so a new endpoint of Docker's is no way around the policy. */
static const struct {
    const char *method, *path;
} DAILY[] = {
    {"GET", "**"},
    {"HEAD", "**"},
    {"POST", "auth"},
    {"POST", "containers/*/stop"},
    {"POST", "containers/*/restart"},
    {"POST", "containers/*/kill"},
    {"POST", "containers/*/pause"},
    {"POST", "containers/*/unpause"},
    {"POST", "containers/*/wait"},
    {"POST", "containers/*/resize"},
    {"POST", "containers/*/attach"},
    {"POST", "containers/*/rename"},
    {"POST", "containers/prune"},
    {"PUT", "containers/*/archive"},
    {"DELETE", "containers/*"},
    {"POST", "exec/*/start"},
    {"POST", "exec/*/resize"},
    {"POST", "images/**"},
    {"DELETE", "images/**"},
    {"POST", "networks/create"},
    {"POST", "networks/*/connect"},
    {"POST", "networks/*/disconnect"},
    {"POST", "networks/prune"},
    {"DELETE", "networks/*"},
    {"POST", "volumes/prune"},
    {"DELETE", "volumes/*"},
};

static text_t denial(const request_t *request) {
    /* Connections that Docker hands over: nobody sees what is said there. */
    if (is_for(request, "session") || is_for(request, "grpc"))
        return TEXT(text("/"), request->path.ptr[0], text(" is not allowed, because what is said there cannot be judged"));
    for (size_t i = 0; i < sizeof JUDGED / sizeof *JUDGED; i++) {
        if (!text_equals(request->method, text("POST")) || !is_for(request, JUDGED[i].path)) continue;
        bool is_json = request->body.tag == EXPORTS_DOCKSIDE_DRIVER_AUTHZ_REQUEST_BODY_JSON;
        if (!is_json || !text_starts(request->body.val.json, "{"))
            return TEXT(text("the body of POST /"), text(JUDGED[i].path), text(" is not there to be judged"));
        return JUDGED[i].objection(json_parse(request->body.val.json));
    }
    /* Older engines take a container's configuration here once more. */
    if (text_equals(request->method, text("POST")) && is_for(request, "containers/*/start"))
        return text(request->body.tag == EXPORTS_DOCKSIDE_DRIVER_AUTHZ_REQUEST_BODY_NONE ? "" : "a configuration at the start of a container is not allowed");
    for (size_t i = 0; i < sizeof DAILY / sizeof *DAILY; i++)
        if (text_equals(request->method, text(DAILY[i].method)) && is_for(request, DAILY[i].path)) return text("");
    text_t path = text("");
    for (size_t i = 0; i < request->path.len; i++) path = TEXT(path, text("/"), request->path.ptr[i]);
    return TEXT(request->method, text(" "), path, text(" is not among the requests that this policy knows"));
}

bool exports_dockside_driver_authz_authz_req(request_t *request, decision_t *ret, exports_dockside_driver_authz_error_t *error) {
    bool administrator = false;
    if (request->user.is_some && !is_administrator(request->user.val, &administrator, error)) return false;
    text_t reason = administrator ? text("") : denial(request);
    ret->tag = reason.len ? EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_DENY : EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_ALLOW;
    if (reason.len) ret->val.deny = text_copy(reason);
    return true;
}

/* Docker has done it by now: a denial would only hide the answer. */
bool exports_dockside_driver_authz_authz_res(request_t *request, exports_dockside_driver_authz_response_t *response,
                                             decision_t *ret, exports_dockside_driver_authz_error_t *error) {
    (void)request, (void)response, (void)error;
    ret->tag = EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_ALLOW;
    return true;
}
