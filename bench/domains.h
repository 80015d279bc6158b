/* The loads of a model's experts on texts of several kinds, as bench evaluate --format=jsonl wrote them. */
#ifndef DOMAINS_H
#define DOMAINS_H

#include "files/complaint.h"

#include <stdint.h>

/* One model on one text, in binary32. */
typedef struct {
    char model[300], text[300];
    double tokens; /* of each layer */
    int layers, experts;
    double *load; /* (layers, experts), to be freed */
} domain;

typedef struct {
    const char *file; /* as it was named */
    int count;
    domain *line;
} domains;

/* Lines of other formats are passed over. All must have as many layers and experts, and be of one model. False: one sentence in why.
 * Close either way. */
bool domains_read(domains *d, const char *file, complaint *why);
void domains_close(domains *d);

#endif
