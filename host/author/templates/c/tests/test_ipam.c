#include "host.h"
#include "subnet.h"

#include <stdio.h>

static dockside_driver_types_error_t error;

/* `10.0.0.1/24`, or an IPv6 address of four groups and `::` behind them: `fd77:0:0:1::/64`. */
static dockside_host_addresses_cidr_t cidr(const char *from) {
    unsigned part[4], prefix = 32;
    if (sscanf(from, "%u.%u.%u.%u/%u", &part[0], &part[1], &part[2], &part[3], &prefix) >= 4)
        return wit_cidr(subnet((number_t)part[0] << 24 | part[1] << 16 | part[2] << 8 | part[3], (uint8_t)prefix, false));
    CHECK(sscanf(from, "%x:%x:%x:%x::/%u", &part[0], &part[1], &part[2], &part[3], &prefix) >= 4);
    number_t high = (number_t)part[0] << 48 | (number_t)part[1] << 32 | (number_t)part[2] << 16 | part[3];
    return wit_cidr(subnet(high << 64, (uint8_t)prefix, true));
}

/* Asks for a pool. Null lets the driver choose. */
static bool pool(const char *space, const char *wanted, const char *range, bool v6, text_t *id) {
    exports_dockside_driver_ipam_pool_request_t request = {.address_space = text(space), .ipv6 = v6};
    exports_dockside_driver_ipam_pool_response_t given;
    request.pool.is_some = wanted != NULL;
    if (wanted) request.pool.val = cidr(wanted);
    request.sub_pool.is_some = range != NULL;
    if (range) request.sub_pool.val = cidr(range);
    bool worked = exports_dockside_driver_ipam_request_pool(&request, &given, &error);
    if (worked) *id = given.pool_id;
    return worked;
}

static bool address(text_t id, const char *wanted, text_t *given) {
    exports_dockside_driver_ipam_address_request_t request = {.pool_id = id};
    exports_dockside_driver_ipam_address_response_t answer;
    request.address.is_some = wanted != NULL;
    if (wanted) request.address.val = cidr(wanted).address;
    bool worked = exports_dockside_driver_ipam_request_address(&request, &answer, &error);
    if (worked) *given = subnet_text(subnet_of(&answer.address));
    return worked;
}

static bool gives(text_t id, const char *wanted, const char *expected) {
    text_t given;
    return address(id, wanted, &given) && text_equals(given, text(expected));
}

static bool fails_with(dockside_driver_types_error_code_t code, bool worked) {
    return !worked && error.code == code && error.message.len > 0;
}

static void release(text_t id, const char *what) {
    dockside_host_addresses_ip_address_t address = cidr(what).address;
    CHECK(exports_dockside_driver_ipam_release_address(&id, &address, &error));
}

static void addresses_come_in_order_and_a_released_one_is_not_the_next(void) {
    text_t id;
    CHECK(pool("local", "10.0.0.0/24", NULL, false, &id));
    CHECK(gives(id, NULL, "10.0.0.1/24"));
    CHECK(gives(id, NULL, "10.0.0.2/24"));
    release(id, "10.0.0.2");
    CHECK(gives(id, NULL, "10.0.0.3/24"));
    CHECK(gives(id, "10.0.0.2", "10.0.0.2/24"));
}

static void a_pool_has_so_many_addresses(void) {
    static const struct {
        const char *pool, *first;
        int count;
    } cases[] = {{"10.0.1.0/29", "10.0.1.1", 6}, {"10.0.2.0/30", "10.0.2.1", 2}, {"10.0.3.0/31", "10.0.3.0", 2}, {"10.0.4.0/32", "10.0.4.0", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_t id, given;
        CHECK(pool("local", cases[i].pool, NULL, false, &id));
        for (int n = 0; n < cases[i].count; n++) CHECK(address(id, NULL, &given));
        CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_EXHAUSTED, address(id, NULL, &given)));
        release(id, cases[i].first);
        CHECK(address(id, NULL, &given) && text_starts(given, cases[i].first));
    }
}

static void a_wanted_address_is_given_once_and_only_if_a_container_can_have_it(void) {
    static const char *const wrong[] = {"10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00:0:0:0::"};
    text_t id, given;
    CHECK(pool("local", "10.0.0.0/24", NULL, false, &id));
    CHECK(gives(id, "10.0.0.9", "10.0.0.9/24"));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, address(id, "10.0.0.9", &given)));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT, address(id, wrong[i], &given)));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND, address(text("local/10.9.0.0/24"), NULL, &given)));
}

static void a_range_is_where_addresses_come_from_and_a_gateway_may_lie_outside(void) {
    text_t id, given;
    CHECK(pool("local", "10.0.0.0/24", "10.0.0.128/30", false, &id));
    CHECK(gives(id, NULL, "10.0.0.128/24"));
    for (int n = 0; n < 3; n++) CHECK(address(id, NULL, &given));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_EXHAUSTED, address(id, NULL, &given)));
    CHECK(gives(id, "10.0.0.1", "10.0.0.1/24"));
}

static void the_same_pool_again_counts_and_another_one_may_not_overlap(void) {
    text_t id, again, elsewhere, given;
    CHECK(pool("local", "10.0.0.0/24", NULL, false, &id));
    CHECK(pool("local", "10.0.0.0/24", NULL, false, &again) && text_equals(id, again));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, pool("local", "10.0.0.128/25", NULL, false, &again)));
    CHECK(pool("global", "10.0.0.128/25", NULL, false, &elsewhere));
    CHECK(address(id, NULL, &given));
    CHECK(exports_dockside_driver_ipam_release_pool(&id, &error));
    CHECK(address(id, NULL, &given));
    for (int n = 0; n < 2; n++) CHECK(exports_dockside_driver_ipam_release_pool(&id, &error));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND, address(id, NULL, &given)));
    CHECK(exports_dockside_driver_ipam_release_pool(&elsewhere, &error));
    CHECK(host_state_count() == 0);
}

static void subnets_that_are_offered_never_overlap(void) {
    text_t ids[20], id;
    for (size_t i = 0; i < 20; i++) {
        CHECK(pool("local", NULL, NULL, i % 2, &ids[i]));
        for (size_t before = 0; before < i; before++) CHECK(!text_equals(ids[before], ids[i]));
    }
    CHECK(pool("local", "fd77:0:0:0::/64", NULL, true, &id));
    CHECK(gives(id, NULL, "fd77:0:0:0:0:0:0:1/64"));
}

static void pools_that_make_no_sense_are_refused(void) {
    static const struct {
        const char *space, *pool, *range;
        bool v6;
    } cases[] = {
        {"mine", NULL, NULL, false},
        {"local", NULL, "10.0.0.0/25", false},
        {"local", "10.0.0.1/24", NULL, false},
        {"local", "0.0.0.0/0", NULL, false},
        {"local", "127.0.0.0/16", NULL, false},
        {"local", "10.0.0.0/24", NULL, true},
        {"local", "10.0.0.0/24", "10.0.1.0/25", false},
    };
    text_t id;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT,
                         pool(cases[i].space, cases[i].pool, cases[i].range, cases[i].v6, &id)));
}

int main(void) {
    RUN(addresses_come_in_order_and_a_released_one_is_not_the_next);
    RUN(a_pool_has_so_many_addresses);
    RUN(a_wanted_address_is_given_once_and_only_if_a_container_can_have_it);
    RUN(a_range_is_where_addresses_come_from_and_a_gateway_may_lie_outside);
    RUN(the_same_pool_again_counts_and_another_one_may_not_overlap);
    RUN(subnets_that_are_offered_never_overlap);
    RUN(pools_that_make_no_sense_are_refused);
}
