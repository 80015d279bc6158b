/* See paged_cache.h. */
#include "paged_cache.h"

#include <stddef.h>

/* Pages of the longest sequence. */
static int64_t most_pages(const paging *p)
{
    return (p->kv_len + p->page_size - 1) / p->page_size;
}

int64_t paging_pages(const paging *p)
{
    return p->batch * most_pages(p) + 2;
}

int64_t paging_table_width(const paging *p)
{
    return most_pages(p) + 1;
}

int64_t paging_length(const paging *p, int64_t b)
{
    return p->lengths ? p->lengths[b] : p->kv_len;
}

/* Pages lie in reverse order, turned by the seed: its own inverse. */
static int64_t shuffled(const paging *p, int64_t page)
{
    int64_t const n = paging_pages(p);
    return (n - 1 - page + (int64_t)(p->seed % (uint64_t)n)) % n;
}

int64_t paging_entry(const paging *p, int64_t b, int64_t page, int64_t dead)
{
    return page * p->page_size < paging_length(p, b) ? shuffled(p, b * most_pages(p) + page) : dead;
}

int64_t paging_token(const paging *p, int64_t slot, int64_t *b)
{
    int64_t const page = shuffled(p, slot / p->page_size), most = most_pages(p);
    if (most == 0 || page >= p->batch * most) return -1;
    int64_t const token = page % most * p->page_size + slot % p->page_size;
    *b = page / most;
    return token < paging_length(p, *b) ? token : -1;
}
