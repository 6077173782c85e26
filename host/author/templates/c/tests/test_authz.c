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

static const char *const HARMFUL[][2] = {
    {"containers/create", "{\"HostConfig\":{\"Privileged\":true}}"},
    {"containers/create", "{ \"Image\" : \"x\" , \"HostConfig\" : { \"Memory\" : 1 , \"Privileged\" : true } }"},
    {"containers/create", "{\"HostConfig\":{\"Privileged\":\"true\"}}"},
    {"containers/create", "{\"HostConfig\":{\"Binds\":[\"data:/data\",\"/:/host\"]}}"},
    {"containers/create", "{\"HostConfig\":{\"Mounts\":[{\"Type\":\"volume\",\"Target\":\"a,]}\\\"b\"},{\"Type\":\"bind\",\"Source\":\"/\"}]}}"},
    {"containers/create", "{\"HostConfig\":{\"Mounts\":[{\"Type\":\"volume\",\"VolumeOptions\":{\"DriverConfig\":{\"Options\":{\"o\":\"bind\"}}}}]}}"},
    {"containers/create", "{\"HostConfig\":{\"PidMode\":\"host\"}}"},
    {"containers/x/exec", "{\"Cmd\":[\"sh\"],\"Privileged\":true}"},
    {"volumes/create", "{\"DriverOpts\":{\"type\":\"none\",\"o\":\"bind\",\"device\":\"\\u002f\"}}"},
    {"containers/x/start", "{\"Privileged\":true}"},
    {"session", NULL},
    {"grpc", NULL},
};

static void ordinary_requests_are_allowed(void) {
    CHECK(allowed(NULL, "GET", "info", NULL));
    CHECK(allowed(NULL, "GET", "images/json", NULL));
    CHECK(allowed(NULL, "DELETE", "containers/x", NULL));
    CHECK(allowed(NULL, "PUT", "containers/x/archive", NULL));
    CHECK(allowed(NULL, "POST", "images/shop/web/push", NULL));
    CHECK(allowed(NULL, "POST", "containers/x/start", NULL));
    CHECK(allowed(NULL, "POST", "containers/create", "{\"Image\":\"busybox\"}"));
    CHECK(allowed(NULL, "POST", "containers/create",
                  "{\"HostConfig\":{\"Privileged\":false,\"Binds\":[\"data:/data\"],\"Mounts\":[{\"Type\":\"volume\"}],\"NetworkMode\":\"default\"}}"));
    CHECK(allowed(NULL, "POST", "containers/x/exec", "{\"Cmd\":[\"true\"]}"));
    CHECK(allowed(NULL, "POST", "volumes/create", "{\"Name\":\"data\",\"DriverOpts\":{\"mode\":\"0750\"}}"));
}

static void what_leads_to_the_machine_is_denied_but_not_to_administrators(void) {
    static const char *const users[] = {NULL, "", "bob", "Alice", "alice, root"};
    host_configure("administrators", "root, alice");
    for (size_t i = 0; i < sizeof HARMFUL / sizeof *HARMFUL; i++) {
        for (size_t user = 0; user < sizeof users / sizeof *users; user++)
            CHECK(!allowed(users[user], "POST", HARMFUL[i][0], HARMFUL[i][1]));
        CHECK(allowed("alice", "POST", HARMFUL[i][0], HARMFUL[i][1]));
    }
}

static void without_a_list_there_is_no_administrator(void) {
    CHECK(!allowed("", "POST", HARMFUL[0][0], HARMFUL[0][1]));
}

static void what_the_policy_does_not_know_is_denied(void) {
    static const char *const requests[][2] = {
        {"POST", "plugins/pull"},
        {"POST", "containers/create/auth"},
        {"POST", "version1.41/containers/create"},
        {"POST", "auth/x"},
        {"OPTIONS", "containers/create"},
        {"DELETE", "containers/x/y"},
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        CHECK(!allowed(NULL, requests[i][0], requests[i][1], "{\"Image\":\"busybox\"}"));
}

static void a_body_that_is_not_there_is_no_harmless_one(void) {
    CHECK(!allowed(NULL, "POST", "containers/create", NULL));
    CHECK(!allowed(NULL, "POST", "containers/create", "null"));
    CHECK(!allowed(NULL, "POST", "containers/create", "[]"));
    CHECK(!allowed(NULL, "POST", "containers/x/exec", NULL));
}

int main(void) {
    RUN(ordinary_requests_are_allowed);
    RUN(what_leads_to_the_machine_is_denied_but_not_to_administrators);
    RUN(without_a_list_there_is_no_administrator);
    RUN(what_the_policy_does_not_know_is_denied);
    RUN(a_body_that_is_not_there_is_no_harmless_one);
}
