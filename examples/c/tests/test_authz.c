#include "host.h"

#include <string.h>

/* Whether a request of a user's is allowed: a method, a path without its first slash, and a body, or null for none. */
static bool allowed(const char *user, const char *method, const char *path, const char *body) {
    plugin_string_t parts[8];
    exports_dockside_driver_authz_request_t request = {
        .user = {.is_some = user != NULL, .val = text(user ? user : "")},
        .method = text(method),
        .uri = text(path),
        .path = {parts, 0},
        .body = {.tag = EXPORTS_DOCKSIDE_DRIVER_AUTHZ_REQUEST_BODY_NONE},
    };
    while (*path) {
        size_t length = strcspn(path, "/");
        parts[request.path.len++] = (text_t){(uint8_t *)path, length};
        path += length + (path[length] == '/');
    }
    if (body) {
        request.body.tag = EXPORTS_DOCKSIDE_DRIVER_AUTHZ_REQUEST_BODY_JSON;
        request.body.val.json = text(body);
    }
    exports_dockside_driver_authz_decision_t decision;
    dockside_driver_types_error_t error;
    CHECK(exports_dockside_driver_authz_authz_req(&request, &decision, &error));
    if (decision.tag == EXPORTS_DOCKSIDE_DRIVER_AUTHZ_DECISION_ALLOW) return true;
    CHECK(decision.val.deny.len > 0);
    return false;
}

static void ordinary_requests_are_allowed(void) {
    CHECK(allowed(NULL, "GET", "containers/json", NULL));
    CHECK(allowed(NULL, "POST", "containers/c1/start", NULL));
    CHECK(allowed(NULL, "POST", "containers/create", "{\"Image\":\"busybox\"}"));
    CHECK(allowed(NULL, "POST", "containers/create",
                  "{\"HostConfig\":{\"Privileged\":false,\"Binds\":[\"data:/data\"],\"Mounts\":[{\"Type\":\"volume\"}]}}"));
    CHECK(allowed(NULL, "POST", "containers/c1/exec", "{\"Cmd\":[\"true\"]}"));
}

static void what_reaches_the_machine_is_for_administrators(void) {
    static const char *const requests[][2] = {
        {"containers/create", "{\"HostConfig\":{\"Privileged\":true}}"},
        {"containers/create", "{ \"Image\" : \"x\" , \"HostConfig\" : { \"Memory\" : 1 , \"Privileged\" : true } }"},
        {"containers/create", "{\"HostConfig\":{\"Binds\":[\"data:/data\",\"/etc:/host\"]}}"},
        {"containers/create", "{\"HostConfig\":{\"Mounts\":[{\"Target\":\"a,]}\\\"b\"},{\"Type\":\"bind\",\"Source\":\"/\"}]}}"},
        {"containers/c1/exec", "{\"Cmd\":[\"sh\"],\"Privileged\":true}"},
    };
    host_configure("administrators", "root, admin");
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        CHECK(!allowed(NULL, "POST", requests[i][0], requests[i][1]));
        CHECK(!allowed("", "POST", requests[i][0], requests[i][1]));
        CHECK(!allowed("ADMIN", "POST", requests[i][0], requests[i][1]));
        CHECK(allowed("admin", "POST", requests[i][0], requests[i][1]));
    }
}

static void a_container_that_cannot_be_judged_is_denied(void) {
    CHECK(!allowed(NULL, "POST", "containers/create", NULL));
    CHECK(!allowed(NULL, "POST", "containers/c1/exec", NULL));
}

int main(void) {
    RUN(ordinary_requests_are_allowed);
    RUN(what_reaches_the_machine_is_for_administrators);
    RUN(a_container_that_cannot_be_judged_is_denied);
}
