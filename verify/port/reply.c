/* See reply.h. */
#include "reply.h"

#include <jansson.h>
#include <stdio.h>

/* A JSON object, which the caller drops; NULL: one sentence in why. */
static json_t *read_object(const char *line, size_t length, complaint *why)
{
    json_error_t error;
    json_t *const object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(object)) return object;
    json_decref(object);
    bool const nul = !object && json_error_code(&error) == json_error_null_character;
    refuse(why,
           nul ? "its answer has the character \\u0000, which no text here may: '%.*s'"
               : "its answer is no JSON object: '%.*s'",
           length < 80 ? (int)length : 80, line);
    return NULL;
}

/* Names that are no op's are nobody's loss; one that is too long can't be one. */
static void read_ops(const json_t *list, op_names *ops)
{
    for (size_t i = 0; i < json_array_size(list) && ops->count < MAX_OPS; i++) {
        const char *const name = json_string_value(json_array_get(list, i));
        if (name && strlen(name) < sizeof ops->name[0]) strcpy(ops->name[ops->count++], name);
    }
}

static bool read_hello(const json_t *line, op_names *ops, complaint *why)
{
    const json_t *const hello = json_object_get(line, "hello"), *const list = json_object_get(hello, "ops");
    const json_t *const protocol = json_object_get(hello, "protocol");
    const char *const name = json_string_value(json_object_get(hello, "name"));
    if (!json_is_object(hello)) return refuse(why, "its first line is no {\"hello\": ...}; see docs/formats.md");
    if (!json_is_integer(protocol) || json_integer_value(protocol) != PROTOCOL)
        return refuse(why, "its hello doesn't speak protocol %d", PROTOCOL);
    if (!name || !json_is_array(list)) return refuse(why, "its hello lacks name or ops");
    const char *const version = json_string_value(json_object_get(hello, "version"));
    snprintf(ops->called, sizeof ops->called, "%.120s", name);
    snprintf(ops->port, sizeof ops->port, "%.120s %.120s", name, version ? version : "");
    read_ops(list, ops);
    return true;
}

bool hello_read(const char *line, size_t length, op_names *ops, complaint *why)
{
    *ops = (op_names){.count = 0};
    json_t *const object = read_object(line, length, why);
    bool const good = object && read_hello(object, ops, why);
    json_decref(object);
    return good;
}

static port_outcome read_reply(const json_t *reply, answer *a, complaint *why)
{
    const char *const unsupported = json_string_value(json_object_get(reply, "unsupported"));
    const char *const error = json_string_value(json_object_get(reply, "error"));
    const char *const declared = json_string_value(json_object_get(reply, "numerics"));
    if (declared && strlen(declared) >= sizeof a->declared)
        return refuse(why, "its declaration is longer than %zu characters", sizeof a->declared - 1), PORT_REJECTED;
    snprintf(a->declared, sizeof a->declared, "%s", declared ? declared : "");
    if (unsupported) return refuse(why, "%s", unsupported), PORT_SKIPPED;
    if (error) return refuse(why, "the port reports: %s", error), PORT_REJECTED;
    if (json_is_true(json_object_get(reply, "ok"))) return PORT_RAN;
    return refuse(why, "its answer has none of ok, unsupported, error"), PORT_REJECTED;
}

port_outcome reply_read(const char *line, size_t length, answer *a, complaint *why)
{
    json_t *const object = read_object(line, length, why);
    port_outcome const outcome = object ? read_reply(object, a, why) : PORT_REJECTED;
    json_decref(object);
    return outcome;
}
