{% if ipam or network %}
#include "subnet.h"

subnet_t subnet(number_t address, uint8_t prefix, bool v6) {
    return (subnet_t){.address = address, .prefix = prefix, .v6 = v6};
}

subnet_t subnet_of(const dockside_host_addresses_cidr_t *cidr) {
    return subnet(number_of(&cidr->address), cidr->prefix_length, cidr->address.tag == DOCKSIDE_HOST_ADDRESSES_IP_ADDRESS_IPV6);
}

number_t number_of(const dockside_host_addresses_ip_address_t *address) {
    if (address->tag == DOCKSIDE_HOST_ADDRESSES_IP_ADDRESS_IPV4) {
        const dockside_host_addresses_ipv4_address_t *part = &address->val.ipv4;
        return (number_t)part->f0 << 24 | (number_t)part->f1 << 16 | (number_t)part->f2 << 8 | part->f3;
    }
    const dockside_host_addresses_ipv6_address_t *part = &address->val.ipv6;
    const uint16_t parts[] = {part->f0, part->f1, part->f2, part->f3, part->f4, part->f5, part->f6, part->f7};
    number_t number = 0;
    for (int i = 0; i < 8; i++) number = number << 16 | parts[i];
    return number;
}

static uint8_t byte_at(number_t number, int shift) {
    return (uint8_t)(number >> shift);
}

static uint16_t part_at(number_t number, int shift) {
    return (uint16_t)(number >> shift);
}

dockside_host_addresses_ip_address_t wit_address(number_t n, bool v6) {
    dockside_host_addresses_ip_address_t address = {.tag = v6 ? DOCKSIDE_HOST_ADDRESSES_IP_ADDRESS_IPV6
                                                              : DOCKSIDE_HOST_ADDRESSES_IP_ADDRESS_IPV4};
    if (v6)
        address.val.ipv6 = (dockside_host_addresses_ipv6_address_t){part_at(n, 112), part_at(n, 96), part_at(n, 80), part_at(n, 64),
                                                                    part_at(n, 48),  part_at(n, 32), part_at(n, 16), part_at(n, 0)};
    else
        address.val.ipv4 = (dockside_host_addresses_ipv4_address_t){byte_at(n, 24), byte_at(n, 16), byte_at(n, 8), byte_at(n, 0)};
    return address;
}

dockside_host_addresses_cidr_t wit_cidr(subnet_t subnet) {
    return (dockside_host_addresses_cidr_t){wit_address(subnet.address, subnet.v6), subnet.prefix};
}

number_t subnet_span(subnet_t subnet) {
    int free = (subnet.v6 ? 128 : 32) - subnet.prefix;
    /* A shift by all bits of a number means nothing in C. */
    return free >= 128 ? ~(number_t)0 : ((number_t)1 << free) - 1;
}

number_t subnet_end(subnet_t subnet) {
    return subnet.address | subnet_span(subnet);
}

bool subnet_contains(subnet_t outer, subnet_t inner) {
    return outer.v6 == inner.v6 && inner.address >= outer.address && subnet_end(inner) <= subnet_end(outer);
}

bool subnet_overlaps(subnet_t one, subnet_t other) {
    return one.v6 == other.v6 && one.address <= subnet_end(other) && other.address <= subnet_end(one);
}

/* Writes a number before `end`, and returns where it begins. */
static uint8_t *put_number(uint8_t *end, unsigned number, unsigned base) {
    do {
        *--end = (uint8_t)"0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    return end;
}

text_t address_text(number_t address, bool v6) {
    size_t room = 8 * 5;
    uint8_t *end = (uint8_t *)allocate(room, 1) + room, *at = end;
    for (int shift = 0; shift < (v6 ? 128 : 32); shift += v6 ? 16 : 8) {
        if (shift) *--at = v6 ? ':' : '.';
        at = v6 ? put_number(at, part_at(address, shift), 16) : put_number(at, byte_at(address, shift), 10);
    }
    return (text_t){at, (size_t)(end - at)};
}

text_t subnet_text(subnet_t subnet) {
    uint8_t digits[3], *end = digits + sizeof digits, *at = put_number(end, subnet.prefix, 10);
    return TEXT(address_text(subnet.address, subnet.v6), text("/"), (text_t){at, (size_t)(end - at)});
}
{% endif %}
