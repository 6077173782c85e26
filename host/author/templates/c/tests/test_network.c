#include "host.h"
#include "subnet.h"

#include <string.h>

#define MTU "com.docker.network.driver.mtu"

static text_t network, endpoint, sandbox;
static dockside_driver_types_error_t error;
static exports_dockside_driver_network_endpoint_options_t endpoint_options;

/* 10.0.0.N/24 */
static dockside_host_addresses_cidr_t cidr(unsigned n) {
    return wit_cidr(subnet((number_t)0x0a000000 + n, 24, false));
}

/* A network with the subnet and the gateway 10.0.0.N. */
static bool create_with(text_t id, unsigned pool, uint8_t prefix, unsigned gateway) {
    exports_dockside_driver_network_network_options_t options = {.internal = false};
    exports_dockside_driver_network_ipam_data_t data = {
        .pool = {true, wit_cidr(subnet((number_t)0x0a000000 + pool, prefix, false))}, .gateway = {true, cidr(gateway)}};
    exports_dockside_driver_network_list_ipam_data_t ipv4 = {&data, 1}, ipv6 = {NULL, 0};
    return exports_dockside_driver_network_create_network(&id, &options, &ipv4, &ipv6, &error);
}

static bool create(const char *option, const char *value, bool internal) {
    exports_dockside_driver_network_key_value_t given = {text(option), text(value)};
    exports_dockside_driver_network_network_options_t options = {.generic = {&given, *option != 0}, .internal = internal};
    exports_dockside_driver_network_ipam_data_t data = {
        .address_space = text("local"), .pool = {true, cidr(0)}, .gateway = {true, cidr(1)}};
    exports_dockside_driver_network_list_ipam_data_t ipv4 = {&data, 1}, ipv6 = {NULL, 0};
    return exports_dockside_driver_network_create_network(&network, &options, &ipv4, &ipv6, &error);
}

/* Makes an endpoint with an address, 0 for none, and perhaps an Ethernet address of Docker's. */
static bool connect(text_t id, unsigned address, bool mac, exports_dockside_driver_network_endpoint_interface_t *made) {
    exports_dockside_driver_network_endpoint_interface_t interface = {
        .address = {address != 0, cidr(address)}, .mac_address = {mac, {2, 0, 0, 0, 0, 1}}};
    return exports_dockside_driver_network_create_endpoint(&network, &id, &interface, &endpoint_options, made, &error);
}

static bool join(exports_dockside_driver_network_join_response_t *joined) {
    return exports_dockside_driver_network_join(&network, &endpoint, &sandbox, &endpoint_options, joined, &error);
}

static bool fails_with(dockside_driver_types_error_code_t code, bool worked) {
    return !worked && error.code == code && error.message.len > 0;
}

static void a_container_gets_one_end_of_a_cable_whose_other_end_is_in_the_bridge(void) {
    exports_dockside_driver_network_endpoint_interface_t made, again;
    exports_dockside_driver_network_join_response_t joined;
    for (int n = 0; n < 2; n++) CHECK(create("", "", false));
    CHECK(host_link("bridge/net")->addresses == 1);
    CHECK(connect(endpoint, 2, false, &made));
    CHECK(made.mac_address.is_some && (made.mac_address.val.f0 & 3) == 2 && !made.address.is_some);
    /* Again, as after a lost answer. */
    CHECK(connect(endpoint, 2, false, &again));
    CHECK(memcmp(&again.mac_address.val, &made.mac_address.val, sizeof made.mac_address.val) == 0);
    CHECK(host_link("port/end")->master == 1);
    CHECK(join(&joined));
    CHECK(joined.interface.is_some && joined.gateway.is_some && !joined.gateway_ipv6.is_some);
    CHECK(number_of(&joined.gateway.val) == 0x0a000001);
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, join(&joined)));
    for (int n = 0; n < 2; n++) {
        CHECK(exports_dockside_driver_network_leave(&network, &endpoint, &error));
        CHECK(exports_dockside_driver_network_delete_endpoint(&network, &endpoint, &error));
        CHECK(exports_dockside_driver_network_delete_network(&network, &error));
    }
    CHECK(host_link_count() == 0 && host_state_count() == 0);
}

static void an_internal_network_has_no_gateway(void) {
    exports_dockside_driver_network_endpoint_interface_t made;
    exports_dockside_driver_network_join_response_t joined;
    CHECK(create("", "", true) && connect(endpoint, 2, false, &made) && join(&joined));
    CHECK(!joined.gateway.is_some);
}

static void what_docker_sent_does_not_come_back(void) {
    exports_dockside_driver_network_endpoint_interface_t made;
    CHECK(create("", "", false) && connect(endpoint, 2, true, &made));
    CHECK(!made.address.is_some && !made.mac_address.is_some);
}

static void the_same_id_with_other_properties_is_an_error(void) {
    exports_dockside_driver_network_endpoint_interface_t made;
    CHECK(create("", "", false));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS, create("", "", true)));
    CHECK(connect(endpoint, 2, false, &made));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS, connect(endpoint, 3, false, &made)));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS, connect(endpoint, 2, true, &made)));
}

static void a_network_takes_its_endpoints_along(void) {
    static const char *const ids[] = {"one", "two", "three"};
    exports_dockside_driver_network_endpoint_interface_t made;
    CHECK(create("", "", false));
    for (int i = 0; i < 3; i++) CHECK(connect(text(ids[i]), 0, false, &made));
    CHECK(exports_dockside_driver_network_delete_network(&network, &error));
    CHECK(host_link_count() == 0 && host_state_count() == 0);
}

static void a_bridge_that_went_with_a_restart_of_the_machine_is_made_again(void) {
    exports_dockside_driver_network_endpoint_interface_t made;
    CHECK(create(MTU, "1400", false));
    host_reboot();
    CHECK(connect(endpoint, 2, false, &made));
    CHECK(host_link("bridge/net")->mtu == 1400 && host_link("bridge/net")->addresses == 1);
    CHECK(host_link("container/end")->mtu == 1400);
}

static void addresses_that_do_not_fit_together_are_refused(void) {
    CHECK(create("", "", false));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, create_with(text("other"), 128, 25, 129)));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT, create_with(text("other"), 256, 24, 513)));
    CHECK(create_with(text("other"), 256, 24, 257));
}

static void what_makes_no_sense_or_is_not_there_is_refused(void) {
    static const char *const options[][2] = {{MTU, "67"}, {MTU, "65536"}, {MTU, "x"}, {MTU, ""}, {"colour", "red"}};
    exports_dockside_driver_network_endpoint_interface_t made;
    exports_dockside_driver_network_join_response_t joined;
    exports_dockside_driver_network_list_key_value_t info;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT, create(options[i][0], options[i][1], false)));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND, connect(endpoint, 2, false, &made)));
    CHECK(create("", "", false));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND, join(&joined)));
    CHECK(fails_with(DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND,
                     exports_dockside_driver_network_endpoint_oper_info(&network, &endpoint, &info, &error)));
}

int main(void) {
    network = text("net");
    endpoint = text("end");
    sandbox = text("/sandbox");
    RUN(a_container_gets_one_end_of_a_cable_whose_other_end_is_in_the_bridge);
    RUN(an_internal_network_has_no_gateway);
    RUN(what_docker_sent_does_not_come_back);
    RUN(the_same_id_with_other_properties_is_an_error);
    RUN(a_network_takes_its_endpoints_along);
    RUN(a_bridge_that_went_with_a_restart_of_the_machine_is_made_again);
    RUN(addresses_that_do_not_fit_together_are_refused);
    RUN(what_makes_no_sense_or_is_not_there_is_refused);
}
