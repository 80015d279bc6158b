/* The variables of the environment that ports of ours read, those that begin with DSV3_. */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

enum { MOST_VARIABLES = 256 };

typedef struct {
    const char *name;
    size_t length; /* of the name */
    const char *value;
} variable;

/* In the order of their names. */
typedef struct {
    int count;
    variable set[MOST_VARIABLES];
} environment;

/* Of this process; names and values lie in its environ. */
void environment_here(environment *e);

/* False, and nothing is added: the name doesn't begin with DSV3_ or is none that a shell takes, or it is there already, or there
 * is no room. */
bool environment_add(environment *e, const variable *v);

/* A variable whose value is another in the second, or that only one has; NULL: there is none. *a and *b: its values, NULL where
 * it isn't set. */
const variable *environment_differs(const environment *first, const environment *second, const char **a,
                                    const char **b);

#endif
