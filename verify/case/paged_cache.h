/* Where the tokens of a paged cache lie: for the fills of every op that reads one. Pages are shuffled by the seed;
 * two belong to nobody, and the last entry of each row of the table is dead. */
#ifndef PAGED_CACHE_H
#define PAGED_CACHE_H

#include <stdint.h>

typedef struct {
    int64_t batch, page_size;
    int64_t kv_len;         /* tokens of the longest sequence */
    const int64_t *lengths; /* (batch) tokens of each; NULL: all kv_len */
    uint64_t seed;
} paging;

int64_t paging_pages(const paging *p);       /* of the cache */
int64_t paging_table_width(const paging *p); /* entries of a row of block_table */
int64_t paging_length(const paging *p, int64_t b);

/* Entry `page` of row b of block_table; `dead` where the sequence has no such page. */
int64_t paging_entry(const paging *p, int64_t b, int64_t page, int64_t dead);

/* The token in slot i of the cache and its sequence; -1 when the slot is unused. */
int64_t paging_token(const paging *p, int64_t slot, int64_t *b);

#endif
