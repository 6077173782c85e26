/* A small double of the host, in memory, for the tests. */
#ifndef HOST_H
#define HOST_H

#include "driver.h"

/* Forgets everything. */
void host_reset(void);
/* How many keys the state has. */
size_t host_state_count(void);
/* Removes a directory as somebody who logs into the machine could. */
void host_lose_directory(const char *key);
/* What the operator wrote under [config]. */
void host_configure(const char *key, const char *value);

/* Each test is a function; a check that fails names its line and ends the program. */
#define CHECK(condition) host_check((condition), #condition, __FILE__, __LINE__)
void host_check(bool holds, const char *condition, const char *file, int line);
#define RUN(test) host_run(#test, test)
void host_run(const char *name, void (*test)(void));

#endif
