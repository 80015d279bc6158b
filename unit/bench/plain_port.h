/* The plain port, loaded into a test's own process. */
#ifndef PLAIN_PORT_H
#define PLAIN_PORT_H

#include "port/load.h"
#include "port/twin.h"

#include <criterion/criterion.h>

static inline void load_plain(loaded_port *port)
{
    backend b;
    complaint why;
    answer a = {0};
    twin_watch(); /* the port is loaded into this process */
    cr_assert(backend_resolve(BUILD "/ports/plain.so", &b, &why), "%s", why.text);
    cr_assert(load_port(&b, port, &a), "%s", a.why);
}

#endif
