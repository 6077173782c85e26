/* What all kinds of plugin share: texts and failures{= ", state" if volume or network or ipam =}{= ", log lines" if volume =}.
 *
 * Nothing here is ever freed. dockside runs each call in an instance of its own, and all memory goes with it. What a function returns
 * has to come from malloc all the same, because the generated code frees that.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include "plugin.h"

/* Any bytes, and no zero behind them. */
typedef plugin_string_t text_t;

/* A text for a literal. Not to be returned from the driver: see text_copy. */
text_t text(const char *literal);
text_t text_copy(text_t from);
/* The pieces one behind the other: TEXT(text("volume "), name, text(" is gone")). There is no printf here, because that imports files. */
#define TEXT(...) text_of((const text_t[]){__VA_ARGS__}, sizeof((const text_t[]){__VA_ARGS__}) / sizeof(text_t))
text_t text_of(const text_t *pieces, size_t count);
bool text_equals(text_t a, text_t b);
/* Whether it begins so. */
bool text_starts(text_t whole, const char *prefix);

/* Memory that is all zero. Stops the driver if there is none. */
void *allocate(size_t count, size_t size);

/* What a failed function returns: a code of wit/deps/driver/types.wit, and one sentence for the user of docker. */
bool fail(dockside_driver_types_error_t *error, dockside_driver_types_error_code_t code, text_t message);

{% if volume %}
/* A line of the plugin's log. */
void log_info(const char *context, text_t message);

{% endif %}
{% if volume or network or ipam %}
/* The plugin's durable state. What a call writes becomes final when it succeeds. Each returns whether it worked, and fails as the driver does. */
bool state_get(text_t key, bool *found, text_t *value, dockside_driver_types_error_t *error);
bool state_set(text_t key, text_t value, dockside_driver_types_error_t *error);
bool state_delete(text_t key, dockside_driver_types_error_t *error);
/* All keys with a prefix, without it, in order of their bytes. */
bool state_keys(const char *prefix, plugin_list_string_t *keys, dockside_driver_types_error_t *error);

{% endif %}
#endif
