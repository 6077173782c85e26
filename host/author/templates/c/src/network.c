/* Networks as bridges: each endpoint is a cable from the bridge into its container. */
#include <string.h>

#include "subnet.h"

#define MTU "com.docker.network.driver.mtu"
#define ENDPOINTS "endpoints/"

typedef exports_dockside_driver_network_list_ipam_data_t ipam_t;

/* What is remembered of a network: this, and behind it the subnets and the gateways. As it lies in memory; all builds for WebAssembly
 * agree on that. */
typedef struct {
    uint32_t mtu, internal, pools, gateways;
} network_t;

/* What is remembered of an endpoint: what was asked for, and the address that it has. No prefix is that of no address. */
typedef struct {
    subnet_t address, address_ipv6;
    uint8_t wanted_mac[6], mac[6];
    bool mac_is_wanted, joined;
    uint8_t zero[2];
} endpoint_t;

static text_t bridge_key(text_t network_id) {
    return TEXT(text("bridge/"), network_id);
}

/* The two ends of a cable: in the bridge, and in the container. */
static text_t port_key(text_t endpoint_id) {
    return TEXT(text("port/"), endpoint_id);
}

static text_t container_key(text_t endpoint_id) {
    return TEXT(text("container/"), endpoint_id);
}

static text_t endpoint_key(text_t network_id, text_t endpoint_id) {
    return TEXT(text(ENDPOINTS), network_id, text("/"), endpoint_id);
}

/* A refusal of the host's, as the user of docker is told it. */
static bool refused(const dockside_host_links_error_t *why, dockside_driver_types_error_t *error) {
    dockside_driver_types_error_code_t code = DOCKSIDE_DRIVER_TYPES_ERROR_CODE_OTHER;
    switch (why->code) {
    case DOCKSIDE_HOST_MACHINE_ERROR_CODE_ALREADY_EXISTS: code = DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS; break;
    case DOCKSIDE_HOST_MACHINE_ERROR_CODE_IN_USE: code = DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE; break;
    case DOCKSIDE_HOST_MACHINE_ERROR_CODE_UNREACHABLE: code = DOCKSIDE_DRIVER_TYPES_ERROR_CODE_UNAVAILABLE; break;
    case DOCKSIDE_HOST_MACHINE_ERROR_CODE_EXHAUSTED: code = DOCKSIDE_DRIVER_TYPES_ERROR_CODE_EXHAUSTED; break;
    case DOCKSIDE_HOST_MACHINE_ERROR_CODE_INVALID: code = DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT; break;
    }
    return fail(error, code, why->message);
}

/* Deletes a link. One that is not there is no error. */
static bool delete_link(text_t key, dockside_driver_types_error_t *error) {
    dockside_host_links_error_t why;
    return dockside_host_links_delete(&key, &why) || why.code == DOCKSIDE_HOST_MACHINE_ERROR_CODE_NOT_FOUND || refused(&why, error);
}

static bool mtu_of(const exports_dockside_driver_network_network_options_t *options, uint32_t *mtu, dockside_driver_types_error_t *error) {
    *mtu = 0;
    for (size_t i = 0; i < options->generic.len; i++) {
        text_t name = options->generic.ptr[i].f0, value = options->generic.ptr[i].f1;
        if (!text_equals(name, text(MTU)))
            return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT,
                        TEXT(text("there is no option "), name, text(": this driver has " MTU)));
        bool number = value.len > 0 && value.len <= 5;
        for (size_t at = 0; number && at < value.len; at++) {
            number = value.ptr[at] >= '0' && value.ptr[at] <= '9';
            *mtu = *mtu * 10 + (value.ptr[at] - '0');
        }
        if (!number || *mtu < 68 || *mtu > 65535)
            return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT,
                        TEXT(text("option " MTU "="), value, text(": say a number from 68 to 65535")));
    }
    return true;
}

static bool find_network(text_t id, text_t *record, dockside_driver_types_error_t *error) {
    bool found;
    if (!state_get(TEXT(text("networks/"), id), &found, record, error)) return false;
    return found || fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND,
                         TEXT(text("there is no network "), id, text(": remove it with docker network rm, and create it again")));
}

static bool endpoint_get(text_t network_id, text_t id, bool *found, endpoint_t *endpoint, dockside_driver_types_error_t *error) {
    text_t value;
    if (!state_get(endpoint_key(network_id, id), found, &value, error)) return false;
    if (*found && value.len == sizeof *endpoint) memcpy(endpoint, value.ptr, sizeof *endpoint);
    return !*found || value.len == sizeof *endpoint ||
           fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_OTHER, TEXT(text("the record of endpoint "), id, text(" is damaged")));
}

static bool endpoint_put(text_t network_id, text_t id, const endpoint_t *endpoint, dockside_driver_types_error_t *error) {
    return state_set(endpoint_key(network_id, id), (text_t){(uint8_t *)endpoint, sizeof *endpoint}, error);
}

static bool find_endpoint(text_t network_id, text_t id, endpoint_t *endpoint, dockside_driver_types_error_t *error) {
    bool found;
    if (!endpoint_get(network_id, id, &found, endpoint, error)) return false;
    return found || fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND,
                         TEXT(text("there is no endpoint "), id, text(" on network "), network_id));
}

/* The parts of a network's record. */
static network_t network_of(text_t record) {
    network_t network;
    memcpy(&network, record.ptr, sizeof network);
    return network;
}

/* One of the subnets, and behind them of the gateways. */
static subnet_t part_of(text_t record, size_t index) {
    subnet_t part;
    memcpy(&part, record.ptr + sizeof(network_t) + index * sizeof part, sizeof part);
    return part;
}

static subnet_t gateway_of(text_t record, size_t index) {
    return part_of(record, network_of(record).pools + index);
}

static text_t network_record(const ipam_t *ipv4, const ipam_t *ipv6, bool internal, uint32_t mtu) {
    const ipam_t *families[] = {ipv4, ipv6};
    network_t network = {.mtu = mtu, .internal = internal};
    size_t room = ipv4->len + ipv6->len;
    subnet_t *pools = allocate(room, sizeof *pools), *gateways = allocate(room, sizeof *gateways);
    for (int family = 0; family < 2; family++)
        for (size_t i = 0; i < families[family]->len; i++) {
            const exports_dockside_driver_network_ipam_data_t *data = &families[family]->ptr[i];
            if (data->pool.is_some) pools[network.pools++] = subnet_of(&data->pool.val);
            if (data->gateway.is_some) gateways[network.gateways++] = subnet_of(&data->gateway.val);
        }
    return TEXT((text_t){(uint8_t *)&network, sizeof network}, (text_t){(uint8_t *)pools, network.pools * sizeof *pools},
                (text_t){(uint8_t *)gateways, network.gateways * sizeof *gateways});
}

static dockside_host_links_settings_t settings_of(text_t record) {
    network_t network = network_of(record);
    return (dockside_host_links_settings_t){.mtu = {.is_some = network.mtu != 0, .val = network.mtu}, .up = true};
}

/* The network's bridge. It is made again if it is gone: a restart of the machine takes it, and Docker says nothing. */
static bool bridge_of(text_t id, text_t record, dockside_host_links_borrow_link_t *bridge, dockside_driver_types_error_t *error) {
    text_t key = bridge_key(id);
    dockside_host_links_own_link_t own;
    dockside_host_links_error_t why;
    bool found = dockside_host_links_open(&key, &own, &why);
    if (!found && why.code != DOCKSIDE_HOST_MACHINE_ERROR_CODE_NOT_FOUND) return refused(&why, error);
    if (!found) {
        dockside_host_links_kind_t kind = {.tag = DOCKSIDE_HOST_LINKS_KIND_BRIDGE};
        dockside_host_links_settings_t settings = settings_of(record);
        if (!dockside_host_links_create(&key, &kind, &settings, &own, &why)) return refused(&why, error);
    }
    *bridge = dockside_host_links_borrow_link(own);
    for (uint32_t i = 0; !found && i < network_of(record).gateways; i++) {
        dockside_host_links_cidr_t gateway = wit_cidr(gateway_of(record, i));
        if (!dockside_host_links_method_link_add_address(*bridge, &gateway, &why)) return refused(&why, error);
    }
    return true;
}

static bool is_inside(subnet_t pool, const dockside_host_addresses_cidr_t *cidr, dockside_driver_types_error_t *error) {
    subnet_t address = subnet_of(cidr);
    return subnet_contains(pool, subnet(address.address, address.v6 ? 128 : 32, address.v6)) ||
           fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT,
                TEXT(subnet_text(address), text(" is not in the subnet "), subnet_text(pool)));
}

static bool is_free(subnet_t pool, dockside_driver_types_error_t *error) {
    plugin_list_string_t networks;
    if (!state_keys("networks/", &networks, error)) return false;
    for (size_t i = 0; i < networks.len; i++) {
        text_t record;
        if (!find_network(networks.ptr[i], &record, error)) return false;
        for (size_t at = 0; at < network_of(record).pools; at++)
            if (subnet_overlaps(part_of(record, at), pool))
                return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE,
                            TEXT(subnet_text(pool), text(" overlaps with "), subnet_text(part_of(record, at)), text(" of another network")));
    }
    return true;
}

/* Addresses that do not fit together make a network that does not work. */
static bool check_addresses(const ipam_t *given, dockside_driver_types_error_t *error) {
    for (size_t i = 0; i < given->len; i++) {
        const exports_dockside_driver_network_ipam_data_t *data = &given->ptr[i];
        if (!data->pool.is_some) continue;
        subnet_t pool = subnet_of(&data->pool.val);
        if (data->gateway.is_some && !is_inside(pool, &data->gateway.val, error)) return false;
        for (size_t aux = 0; aux < data->aux_addresses.len; aux++)
            if (!is_inside(pool, &data->aux_addresses.ptr[aux].f1, error)) return false;
        if (!is_free(pool, error)) return false;
    }
    return true;
}

void exports_dockside_driver_network_get_capabilities(exports_dockside_driver_network_network_capabilities_t *ret) {
    *ret = (exports_dockside_driver_network_network_capabilities_t){.scope = DOCKSIDE_DRIVER_TYPES_SCOPE_LOCAL};
}

bool exports_dockside_driver_network_create_network(plugin_string_t *id, exports_dockside_driver_network_network_options_t *options,
                                                    ipam_t *ipv4, ipam_t *ipv6, exports_dockside_driver_network_error_t *error) {
    uint32_t mtu;
    bool known;
    text_t before, key = TEXT(text("networks/"), *id);
    dockside_host_links_borrow_link_t bridge;
    if (!mtu_of(options, &mtu, error) || !state_get(key, &known, &before, error)) return false;
    text_t wanted = network_record(ipv4, ipv6, options->internal, mtu);
    if (known)
        return text_equals(before, wanted) ||
               fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS,
                    TEXT(text("network "), *id, text(" exists already, with other options or addresses")));
    return check_addresses(ipv4, error) && check_addresses(ipv6, error) && bridge_of(*id, wanted, &bridge, error) && state_set(key, wanted, error);
}

bool exports_dockside_driver_network_delete_network(plugin_string_t *id, exports_dockside_driver_network_error_t *error) {
    plugin_list_string_t endpoints;
    text_t prefix = TEXT(*id, text("/"));
    if (!state_keys(ENDPOINTS, &endpoints, error)) return false;
    for (size_t i = 0; i < endpoints.len; i++) {
        text_t key = endpoints.ptr[i];
        if (key.len < prefix.len || memcmp(key.ptr, prefix.ptr, prefix.len) != 0) continue;
        text_t endpoint = {key.ptr + prefix.len, key.len - prefix.len};
        if (!exports_dockside_driver_network_delete_endpoint(id, &endpoint, error)) return false;
    }
    return delete_link(bridge_key(*id), error) && state_delete(TEXT(text("networks/"), *id), error);
}

static endpoint_t endpoint_of(const exports_dockside_driver_network_endpoint_interface_t *interface) {
    endpoint_t endpoint;
    memset(&endpoint, 0, sizeof endpoint);
    if (interface->address.is_some) endpoint.address = subnet_of(&interface->address.val);
    if (interface->address_ipv6.is_some) endpoint.address_ipv6 = subnet_of(&interface->address_ipv6.val);
    if (interface->mac_address.is_some) {
        endpoint.mac_is_wanted = true;
        memcpy(endpoint.wanted_mac, &interface->mac_address.val, sizeof endpoint.wanted_mac);
        memcpy(endpoint.mac, endpoint.wanted_mac, sizeof endpoint.mac);
    } else {
        plugin_list_u8_t random;
        wasi_random_random_get_random_bytes(sizeof endpoint.mac, &random);
        memcpy(endpoint.mac, random.ptr, sizeof endpoint.mac);
        /* Two bits of the first byte: for one link, and given out by no manufacturer. */
        endpoint.mac[0] = (endpoint.mac[0] & 0xfc) | 2;
    }
    return endpoint;
}

static bool is_as_wanted(const endpoint_t *known, const endpoint_t *wanted) {
    return memcmp(&known->address, &wanted->address, sizeof known->address) == 0 &&
           memcmp(&known->address_ipv6, &wanted->address_ipv6, sizeof known->address_ipv6) == 0 &&
           known->mac_is_wanted == wanted->mac_is_wanted && memcmp(known->wanted_mac, wanted->wanted_mac, sizeof known->wanted_mac) == 0;
}

/* Makes the cable. */
static bool connect(text_t network_id, text_t record, text_t id, const endpoint_t *endpoint, dockside_driver_types_error_t *error) {
    text_t inside = container_key(id), outside = port_key(id);
    dockside_host_links_settings_t settings = settings_of(record);
    dockside_host_links_tuple2_own_link_own_link_t ends;
    dockside_host_links_borrow_link_t bridge;
    dockside_host_links_error_t why;
    settings.mac.is_some = true;
    memcpy(&settings.mac.val, endpoint->mac, sizeof endpoint->mac);
    if (!dockside_host_links_create_pair(&inside, &outside, &settings, &ends, &why)) return refused(&why, error);
    if (!bridge_of(network_id, record, &bridge, error)) return false;
    return dockside_host_links_method_link_set_master(dockside_host_links_borrow_link(ends.f1), &bridge, &why) || refused(&why, error);
}

bool exports_dockside_driver_network_create_endpoint(plugin_string_t *network_id, plugin_string_t *id,
                                                     exports_dockside_driver_network_endpoint_interface_t *interface,
                                                     exports_dockside_driver_network_endpoint_options_t *options,
                                                     exports_dockside_driver_network_endpoint_interface_t *ret,
                                                     exports_dockside_driver_network_error_t *error) {
    (void)options;
    bool exists;
    text_t record;
    endpoint_t known, wanted = endpoint_of(interface);
    if (!find_network(*network_id, &record, error) || !endpoint_get(*network_id, *id, &exists, &known, error)) return false;
    if (!exists) {
        known = wanted;
        if (!connect(*network_id, record, *id, &known, error) || !endpoint_put(*network_id, *id, &known, error)) return false;
    } else if (!is_as_wanted(&known, &wanted)) {
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_ALREADY_EXISTS,
                    TEXT(text("endpoint "), *id, text(" exists already, with other addresses")));
    }
    /* Docker fails the start of the container if what it sent comes back. */
    *ret = (exports_dockside_driver_network_endpoint_interface_t){.mac_address = {.is_some = !interface->mac_address.is_some}};
    memcpy(&ret->mac_address.val, known.mac, sizeof known.mac);
    return true;
}

bool exports_dockside_driver_network_delete_endpoint(plugin_string_t *network_id, plugin_string_t *id,
                                                     exports_dockside_driver_network_error_t *error) {
    bool exists;
    endpoint_t endpoint;
    if (!endpoint_get(*network_id, *id, &exists, &endpoint, error)) return false;
    return !exists || (delete_link(port_key(*id), error) && state_delete(endpoint_key(*network_id, *id), error));
}

bool exports_dockside_driver_network_endpoint_oper_info(plugin_string_t *network_id, plugin_string_t *id,
                                                        exports_dockside_driver_network_list_key_value_t *ret,
                                                        exports_dockside_driver_network_error_t *error) {
    endpoint_t endpoint;
    *ret = (exports_dockside_driver_network_list_key_value_t){NULL, 0};
    return find_endpoint(*network_id, *id, &endpoint, error);
}

bool exports_dockside_driver_network_join(plugin_string_t *network_id, plugin_string_t *id, plugin_string_t *sandbox,
                                          exports_dockside_driver_network_endpoint_options_t *options,
                                          exports_dockside_driver_network_join_response_t *ret,
                                          exports_dockside_driver_network_error_t *error) {
    (void)sandbox, (void)options;
    text_t record, key = container_key(*id);
    endpoint_t endpoint;
    dockside_host_links_error_t why;
    if (!find_network(*network_id, &record, error) || !find_endpoint(*network_id, *id, &endpoint, error)) return false;
    if (endpoint.joined)
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, TEXT(text("endpoint "), *id, text(" is joined already")));
    endpoint.joined = true;
    if (!endpoint_put(*network_id, *id, &endpoint, error)) return false;
    *ret = (exports_dockside_driver_network_join_response_t){
        .interface = {.is_some = true},
        .dst_prefix = text_copy(text("eth")),
        /* Without a gateway Docker would connect the container to a bridge of its own. */
        .disable_gateway_service = true,
    };
    if (!dockside_host_links_open(&key, &ret->interface.val, &why)) return refused(&why, error);
    network_t network = network_of(record);
    for (uint32_t i = 0; !network.internal && i < network.gateways; i++) {
        subnet_t gateway = gateway_of(record, i);
        exports_dockside_driver_network_option_ip_address_t *place = gateway.v6 ? &ret->gateway_ipv6 : &ret->gateway;
        if (!place->is_some) place->val = wit_address(gateway.address, gateway.v6);
        place->is_some = true;
    }
    return true;
}

bool exports_dockside_driver_network_leave(plugin_string_t *network_id, plugin_string_t *id, exports_dockside_driver_network_error_t *error) {
    bool exists;
    endpoint_t endpoint;
    if (!endpoint_get(*network_id, *id, &exists, &endpoint, error)) return false;
    endpoint.joined = false;
    return !exists || endpoint_put(*network_id, *id, &endpoint, error);
}

/* What this driver has no use for. Docker takes "not implemented" for an answer. */
static bool missing(const char *method, dockside_driver_types_error_t *error) {
    return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_IMPLEMENTED,
                TEXT(text("this driver does not have NetworkDriver."), text(method)));
}

bool exports_dockside_driver_network_allocate_network(plugin_string_t *id, exports_dockside_driver_network_list_key_value_t *options,
                                                      ipam_t *ipv4, ipam_t *ipv6, exports_dockside_driver_network_list_key_value_t *ret,
                                                      exports_dockside_driver_network_error_t *error) {
    (void)id, (void)options, (void)ipv4, (void)ipv6, (void)ret;
    return missing("AllocateNetwork", error);
}

bool exports_dockside_driver_network_free_network(plugin_string_t *id, exports_dockside_driver_network_error_t *error) {
    (void)id;
    return missing("FreeNetwork", error);
}

bool exports_dockside_driver_network_gw_alloc_check(exports_dockside_driver_network_network_options_t *options,
                                                    exports_dockside_driver_network_gw_alloc_response_t *ret,
                                                    exports_dockside_driver_network_error_t *error) {
    (void)options, (void)ret;
    return missing("GwAllocCheck", error);
}

bool exports_dockside_driver_network_program_external_connectivity(plugin_string_t *network_id, plugin_string_t *id,
                                                                   exports_dockside_driver_network_endpoint_options_t *options,
                                                                   exports_dockside_driver_network_error_t *error) {
    (void)network_id, (void)id, (void)options;
    return missing("ProgramExternalConnectivity", error);
}

bool exports_dockside_driver_network_revoke_external_connectivity(plugin_string_t *network_id, plugin_string_t *id,
                                                                  exports_dockside_driver_network_error_t *error) {
    (void)network_id, (void)id;
    return missing("RevokeExternalConnectivity", error);
}

bool exports_dockside_driver_network_discover_new(exports_dockside_driver_network_discovery_t *what,
                                                  exports_dockside_driver_network_error_t *error) {
    (void)what, (void)error;
    return true;
}

bool exports_dockside_driver_network_discover_delete(exports_dockside_driver_network_discovery_t *what,
                                                     exports_dockside_driver_network_error_t *error) {
    (void)what, (void)error;
    return true;
}
