{% if ipam or network %}
/* Arithmetic with addresses. */
#ifndef SUBNET_H
#define SUBNET_H

#include "driver.h"

/* An address of either family. */
typedef unsigned __int128 number_t;

/* A subnet, or an address with its prefix. All bytes are set, so that equal ones are equal as bytes: they are kept in the state. */
typedef struct {
    number_t address;
    uint8_t prefix;
    bool v6;
    uint8_t zero[14];
} subnet_t;

subnet_t subnet(number_t address, uint8_t prefix, bool v6);
subnet_t subnet_of(const dockside_host_addresses_cidr_t *cidr);
number_t number_of(const dockside_host_addresses_ip_address_t *address);
dockside_host_addresses_ip_address_t wit_address(number_t address, bool v6);
dockside_host_addresses_cidr_t wit_cidr(subnet_t subnet);

/* The number of addresses less one: that of 0.0.0.0/0 has room for it. */
number_t subnet_span(subnet_t subnet);
number_t subnet_end(subnet_t subnet);
bool subnet_contains(subnet_t outer, subnet_t inner);
bool subnet_overlaps(subnet_t one, subnet_t other);

text_t address_text(number_t address, bool v6);
text_t subnet_text(subnet_t subnet);

#endif
{% endif %}
