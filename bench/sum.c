/* See sum.h. */
#include "sum.h"

#include "printable.h"

#include <stdio.h>
#include <string.h>

void sum_add(time_sum *s, double seconds, double floor, const cost *needs)
{
    s->cases++;
    s->seconds += seconds, s->floor += floor;
    s->operations += needs->operations, s->bytes += needs->bytes;
}

bool sum_is_whole(const time_sum *s, int cases, const char *port, complaint *why)
{
    return s->cases == cases ||
           refuse(why, "there is no sum on %s: %d of %d cases have no time", port, cases - s->cases, cases);
}

static void print_object(const time_sum *s, const sum_place *at)
{
    printf("{\"sum\":%d,\"port\":", s->cases);
    print_json_text(stdout, at->port);
    printf(",\"seconds\":%.9g,\"floor\":%.9g,\"fraction\":%.9g,\"operations\":%.9g,"
           "\"bytes\":%.9g,\"cpu\":\"%s\",\"threads\":%d}",
           s->seconds, s->floor, s->floor / s->seconds, s->operations, s->bytes, at->cpu, at->threads);
}

void sum_print(const time_sum *s, const sum_place *at, const char *format)
{
    double const share = s->floor / s->seconds, rate = s->operations / s->seconds * 1e-9,
                 bytes = s->bytes / s->seconds * 1e-9;
    if (!strcmp(format, "text"))
        printf("%-10s %8.1f us %5.2f %9.1f %8.1f %11s %9s  sum of %d, limit %.1f us\n", at->port, s->seconds * 1e6,
               share, rate, bytes, "", "", s->cases, s->floor * 1e6);
    if (!strcmp(format, "md"))
        printf("| sum of %d, limit %.1f us | %s | %.1f us | %.2f | %.1f | %.1f | | |\n", s->cases, s->floor * 1e6,
               at->port, s->seconds * 1e6, share, rate, bytes);
    if (!strcmp(format, "csv"))
        printf("\"sum of %d\",%s,%.9g,,,%.9g,%.9g,%.9g,,,,,,\"%s\",%d,\n", s->cases, at->port, s->seconds, s->floor,
               s->operations, s->bytes, at->cpu, at->threads);
    bool const json = !strcmp(format, "json");
    if (json && !at->first) puts(",");
    if (json || !strcmp(format, "jsonl")) print_object(s, at);
    if (!strcmp(format, "jsonl")) puts("");
    fflush(stdout);
}
