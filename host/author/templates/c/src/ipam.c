/* Addresses for networks: pools, and the addresses of each that are held, in the plugin's state. */
#include <string.h>

#include "subnet.h"

#define POOLS "pools/"

/* Where subnets for networks without --subnet come from, and the length of their prefix: 10.99.0.0/16 in steps of /24, and
 * fd00:d0c5:1de0::/48 in steps of /64. Make the second one yours: RFC 4193 wants 40 random bits behind fd. */
static const struct {
    subnet_t from;
    uint8_t prefix;
} OFFERED[] = {
    {{.address = (number_t)0x0a630000, .prefix = 16}, 24},
    {{.address = (number_t)0xfd00d0c51de0 << 80, .prefix = 48, .v6 = true}, 64},
};

/* What is remembered of a pool. It is kept as it lies in memory; all builds for WebAssembly agree on that. */
typedef struct {
    subnet_t subnet;
    /* The addresses to choose from. */
    number_t first, last;
    /* Where the search for a free address begins: what was released is not given to the next one who asks. */
    number_t next;
    /* How often it was asked for. */
    uint64_t networks;
    uint64_t zero;
} pool_t;

static bool invalid(dockside_driver_types_error_t *error, text_t message) {
    return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_INVALID_ARGUMENT, message);
}

static bool pool_get(text_t id, bool *found, pool_t *pool, dockside_driver_types_error_t *error) {
    text_t value;
    if (!state_get(TEXT(text(POOLS), id), found, &value, error)) return false;
    if (*found && value.len != sizeof *pool)
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_OTHER, TEXT(text("the record of pool "), id, text(" is damaged")));
    if (*found) memcpy(pool, value.ptr, sizeof *pool);
    return true;
}

static bool pool_put(text_t id, const pool_t *pool, dockside_driver_types_error_t *error) {
    return state_set(TEXT(text(POOLS), id), (text_t){(uint8_t *)pool, sizeof *pool}, error);
}

static text_t lease_key(text_t id, number_t address, bool v6) {
    return TEXT(text("leases/"), id, text("/"), address_text(address, v6));
}

/* Whether an address is held. */
static bool is_leased(text_t id, number_t address, bool v6, bool *held, dockside_driver_types_error_t *error) {
    text_t value;
    return state_get(lease_key(id, address, v6), held, &value, error);
}

/* The first and the last address that a container can have. */
static void usable(subnet_t of, number_t *first, number_t *last) {
    *first = of.address;
    *last = subnet_end(of);
    if (*last - *first <= 1) return;
    /* The first one is the network's, or that of any router (RFC 4291, 2.6.1); the last one IPv4's broadcast address. */
    *first += 1;
    *last -= of.v6 ? 0 : 1;
}

/* Why a subnet cannot be that of a network; null if it can. */
static const char *objection(subnet_t of, bool v6) {
    if (of.v6 != v6) return " is of the other family";
    if (of.address & subnet_span(of)) return " has bits behind its prefix";
    if (of.prefix < 8) return " is larger than a /8";
    unsigned first = (unsigned)(of.address >> (v6 ? 120 : 24));
    if (v6 ? first == 0 || first == 0xff : first == 0 || first == 127 || first >= 224) return " is not for networks";
    return NULL;
}

/* The subnets of an address space that are held. */
static bool held_in(text_t space, subnet_t **held, size_t *count, dockside_driver_types_error_t *error) {
    plugin_list_string_t ids;
    text_t prefix = TEXT(space, text("/"));
    if (!state_keys(POOLS, &ids, error)) return false;
    *held = allocate(ids.len, sizeof **held);
    *count = 0;
    for (size_t i = 0; i < ids.len; i++) {
        bool found;
        pool_t pool;
        if (ids.ptr[i].len < prefix.len || memcmp(ids.ptr[i].ptr, prefix.ptr, prefix.len) != 0) continue;
        if (!pool_get(ids.ptr[i], &found, &pool, error)) return false;
        if (found) (*held)[(*count)++] = pool.subnet;
    }
    return true;
}

static const subnet_t *overlapping(subnet_t with, const subnet_t *held, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (subnet_overlaps(with, held[i])) return &held[i];
    return NULL;
}

/* A subnet that overlaps with none that is held. Never the same one twice while it is held: Docker asks on until it likes one. */
static bool offer(bool v6, const subnet_t *held, size_t count, subnet_t *offered, dockside_driver_types_error_t *error) {
    subnet_t from = OFFERED[v6].from;
    *offered = subnet(from.address, OFFERED[v6].prefix, v6);
    while (subnet_contains(from, *offered)) {
        if (!overlapping(*offered, held, count)) return true;
        offered->address = subnet_end(*offered) + 1;
    }
    return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_EXHAUSTED,
                TEXT(text("every subnet of "), subnet_text(from), text(" is held: remove a network, or name one with --subnet")));
}

void exports_dockside_driver_ipam_get_capabilities(exports_dockside_driver_ipam_ipam_capabilities_t *ret) {
    *ret = (exports_dockside_driver_ipam_ipam_capabilities_t){.requires_mac_address = false, .requires_request_replay = false};
}

void exports_dockside_driver_ipam_get_default_address_spaces(exports_dockside_driver_ipam_address_spaces_t *ret) {
    ret->local = text_copy(text("local"));
    ret->global = text_copy(text("global"));
}

/* Makes the record of a pool that is not held yet. */
static bool pool_new(subnet_t of, const subnet_t *range, pool_t *pool, dockside_driver_types_error_t *error) {
    memset(pool, 0, sizeof *pool);
    pool->subnet = of;
    usable(of, &pool->first, &pool->last);
    if (range) {
        if (range->address > pool->first) pool->first = range->address;
        if (subnet_end(*range) < pool->last) pool->last = subnet_end(*range);
        if (pool->first > pool->last)
            return invalid(error, TEXT(text("--ip-range "), subnet_text(*range), text(" has no address that a container can have")));
    }
    pool->next = pool->first;
    return true;
}

bool exports_dockside_driver_ipam_request_pool(exports_dockside_driver_ipam_pool_request_t *request,
                                               exports_dockside_driver_ipam_pool_response_t *ret,
                                               exports_dockside_driver_ipam_error_t *error) {
    text_t space = request->address_space;
    subnet_t *held, wanted, part;
    const subnet_t *range = NULL;
    size_t count;
    if (!text_equals(space, text("local")) && !text_equals(space, text("global")))
        return invalid(error, TEXT(text("there is no address space \""), space, text("\": say local or global")));
    if (request->sub_pool.is_some && !request->pool.is_some)
        return invalid(error, text("--ip-range needs a --subnet that it is a part of"));
    if (!held_in(space, &held, &count, error)) return false;
    if (request->pool.is_some) wanted = subnet_of(&request->pool.val);
    else if (!offer(request->ipv6, held, count, &wanted, error)) return false;
    const char *why = objection(wanted, request->ipv6);
    if (why) return invalid(error, TEXT(subnet_text(wanted), text(why)));

    text_t id = TEXT(space, text("/"), subnet_text(wanted));
    if (request->sub_pool.is_some) {
        part = subnet_of(&request->sub_pool.val);
        range = &part;
        if (!subnet_contains(wanted, part) || part.address & subnet_span(part))
            return invalid(error, TEXT(text("--ip-range "), subnet_text(part), text(" is not a part of "), subnet_text(wanted)));
        id = TEXT(id, text("+"), subnet_text(part));
    }
    bool known;
    pool_t pool;
    if (!pool_get(id, &known, &pool, error)) return false;
    if (!known) {
        const subnet_t *other = overlapping(wanted, held, count);
        if (other)
            return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE,
                        TEXT(subnet_text(wanted), text(" overlaps with "), subnet_text(*other),
                             text(", which is held: choose another --subnet")));
        if (!pool_new(wanted, range, &pool, error)) return false;
    }
    pool.networks++;
    *ret = (exports_dockside_driver_ipam_pool_response_t){.pool_id = text_copy(id), .pool = wit_cidr(wanted)};
    return pool_put(id, &pool, error);
}

bool exports_dockside_driver_ipam_release_pool(plugin_string_t *id, exports_dockside_driver_ipam_error_t *error) {
    bool known;
    pool_t pool;
    if (!pool_get(*id, &known, &pool, error)) return false;
    if (!known) return true;
    if (pool.networks > 1) {
        pool.networks--;
        return pool_put(*id, &pool, error);
    }
    plugin_list_string_t leases;
    text_t prefix = TEXT(*id, text("/"));
    if (!state_keys("leases/", &leases, error)) return false;
    for (size_t i = 0; i < leases.len; i++) {
        text_t lease = leases.ptr[i];
        if (lease.len > prefix.len && memcmp(lease.ptr, prefix.ptr, prefix.len) == 0 &&
            !state_delete(TEXT(text("leases/"), lease), error))
            return false;
    }
    return state_delete(TEXT(text(POOLS), *id), error);
}

/* Whether the address that was asked for can be given. It may lie outside of --ip-range, as gateways do. */
static bool check(text_t id, const pool_t *pool, const dockside_host_addresses_ip_address_t *wanted, number_t *address, dockside_driver_types_error_t *error) {
    number_t low, high;
    bool held, v6 = wanted->tag == DOCKSIDE_HOST_ADDRESSES_IP_ADDRESS_IPV6;
    *address = number_of(wanted);
    usable(pool->subnet, &low, &high);
    if (v6 != pool->subnet.v6 || *address < low || *address > high)
        return invalid(error, TEXT(address_text(*address, v6), text(" is no address that a container in "), subnet_text(pool->subnet),
                                   text(" can have")));
    if (!is_leased(id, *address, v6, &held, error)) return false;
    return !held ||
           fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_IN_USE, TEXT(address_text(*address, v6), text(" is in use already")));
}

/* Finds a free address. The search goes once around. */
static bool choose(text_t id, pool_t *pool, number_t *address, dockside_driver_types_error_t *error) {
    *address = pool->next;
    do {
        bool held;
        number_t behind = *address < pool->last ? *address + 1 : pool->first;
        if (!is_leased(id, *address, pool->subnet.v6, &held, error)) return false;
        if (!held) {
            pool->next = behind;
            return pool_put(id, pool, error);
        }
        *address = behind;
    } while (*address != pool->next);
    return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_EXHAUSTED,
                TEXT(text("every address of "), subnet_text(pool->subnet),
                     text(" is in use: remove a container, or take a larger --subnet")));
}

bool exports_dockside_driver_ipam_request_address(exports_dockside_driver_ipam_address_request_t *request,
                                                  exports_dockside_driver_ipam_address_response_t *ret,
                                                  exports_dockside_driver_ipam_error_t *error) {
    bool known;
    pool_t pool;
    number_t address;
    if (!pool_get(request->pool_id, &known, &pool, error)) return false;
    if (!known)
        return fail(error, DOCKSIDE_DRIVER_TYPES_ERROR_CODE_NOT_FOUND,
                    TEXT(text("there is no pool \""), request->pool_id, text("\"")));
    bool given = request->address.is_some ? check(request->pool_id, &pool, &request->address.val, &address, error)
                                          : choose(request->pool_id, &pool, &address, error);
    if (!given) return false;
    *ret = (exports_dockside_driver_ipam_address_response_t){.address = wit_cidr(subnet(address, pool.subnet.prefix, pool.subnet.v6))};
    return state_set(lease_key(request->pool_id, address, pool.subnet.v6), text(request->gateway ? "gateway" : "container"), error);
}

bool exports_dockside_driver_ipam_release_address(plugin_string_t *id, exports_dockside_driver_ipam_ip_address_t *address,
                                                  exports_dockside_driver_ipam_error_t *error) {
    bool v6 = address->tag == DOCKSIDE_HOST_ADDRESSES_IP_ADDRESS_IPV6;
    return state_delete(lease_key(*id, number_of(address), v6), error);
}
