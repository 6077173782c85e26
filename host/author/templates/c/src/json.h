{% if authz %}
/* Reading JSON that the host has checked and written anew: one value, each key once. Nothing is copied: a value is a piece of the text. */
#ifndef JSON_H
#define JSON_H

#include "driver.h"

/* A value; an empty text if there is none. */
typedef text_t json_t;

json_t json_parse(text_t document);
/* The value of a key; none if there is no such key, or if this is no object. */
json_t json_member(json_t object, const char *key);
/* Steps through a list: `item` is the next one, false comes at the end and for what is no list. `position` begins with 0. */
bool json_next(json_t list, size_t *position, json_t *item);
/* False, or not there: what is neither true nor false is not left to the engine. */
bool json_is_false(json_t value);
/* Whether it is a string; then a copy of what it says. */
bool json_string(json_t value, text_t *string);

#endif
{% endif %}
