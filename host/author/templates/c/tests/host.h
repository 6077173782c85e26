/* A small double of the host, in memory, for the tests. */
#ifndef HOST_H
#define HOST_H

#include "driver.h"

/* Forgets everything. */
void host_reset(void);
{% if volume or network or ipam %}
/* How many keys the state has. */
size_t host_state_count(void);
{% endif %}
{% if volume %}
/* Removes a directory as somebody who logs into the machine could. */
void host_lose_directory(const char *key);
{% endif %}
{% if network %}
/* A link that the driver made, with what was done to it. */
typedef struct {
    text_t key, peer;
    uint32_t mtu;
    size_t addresses;
    int master; /* The handle of a bridge; 0 is none. */
} host_link_t;
/* Null if there is none. */
const host_link_t *host_link(const char *key);
size_t host_link_count(void);
/* Takes all links, as a restart of the machine does. */
void host_reboot(void);
{% endif %}
{% if authz %}
/* What the operator wrote under [config]. */
void host_configure(const char *key, const char *value);
{% endif %}

/* Each test is a function; a check that fails names its line and ends the program. */
#define CHECK(condition) host_check((condition), #condition, __FILE__, __LINE__)
void host_check(bool holds, const char *condition, const char *file, int line);
#define RUN(test) host_run(#test, test)
void host_run(const char *name, void (*test)(void));

#endif
