/* See shard.h. */
#include "shard.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SHARDS = 100000 };

/* A whole number of decimal digits, from least to MOST_SHARDS, up to `end`. */
static bool read_whole(const char *text, const char *end, int least, int *n)
{
    int value = 0;
    if (text == end) return false;
    for (const char *c = text; c < end; c++) {
        if (*c < '0' || *c > '9') return false;
        value = 10 * value + (*c - '0');
        if (value > MOST_SHARDS) return false;
    }
    *n = value;
    return value >= least;
}

/* ---- from the environment ---- */

/* Each starter's names for a job's own number and for how many there are. */
typedef struct {
    const char *starter, *rank, *size;
    const char *first, *step; /* its least number and the distance of two; NULL: 0 and 1 */
} starter;

/* mpirun under Slurm hands Slurm's variables on, which are then those of the whole job: so its own go before. */
static const starter starters[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL, NULL},
    {"PMI", "PMI_RANK", "PMI_SIZE", NULL, NULL},
    {"a Slurm array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"},
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", NULL, NULL},
};
enum { STARTERS = sizeof starters / sizeof *starters };

static bool has_value(const char *name)
{
    return getenv(name) && *getenv(name);
}

static bool read_variable(const starter *s, const char *name, int least, int *n, complaint *why)
{
    const char *const text = has_value(name) ? getenv(name) : NULL;
    if (!text)
        return refuse(why, "--shard=auto finds variables of %s without %s: set it, or write --shard=I/N", s->starter,
                      name);
    if (read_whole(text, text + strlen(text), least, n)) return true;
    return refuse(why, "--shard=auto: %s is '%.40s': it takes whole numbers from %d on; or write --shard=I/N", name,
                  text, least);
}

/* False: one sentence in why. */
static bool read_starter(const starter *s, shard *out, complaint *why)
{
    int rank = 0, size = 0, first = 0, step = 1;
    if (!read_variable(s, s->rank, 0, &rank, why) || !read_variable(s, s->size, 1, &size, why)) return false;
    if (s->first && !read_variable(s, s->first, 0, &first, why)) return false;
    if (s->step && has_value(s->step) && !read_variable(s, s->step, 1, &step, why)) return false;
    int const place = (rank - first) / step;
    if (rank < first || (rank - first) % step || place >= size)
        return refuse(why, "--shard=auto: %s=%d is none of the %d that %s says: write --shard=I/N", s->rank, rank, size,
                      s->size);
    *out = (shard){place + 1, size};
    return true;
}

/* Two starters one inside the other, as mpirun in each job of an array: whose number counts? */
static bool refuse_second(const starter *first, complaint *why)
{
    const starter *const array = &starters[2], *const tasks = &starters[3];
    const starter *const second = first < array ? array : tasks;
    int inner = 1;
    if (first >= tasks || (first < array && !has_value(array->rank))) return true;
    if (!has_value(second->size) || !read_variable(second, second->size, 1, &inner, why))
        return !has_value(second->size);
    return inner == 1 || refuse(why, "--shard=auto finds %s and %s, each with several jobs: write --shard=I/N",
                                first->starter, second->starter);
}

static bool read_environment(shard *out, complaint *why)
{
    for (int i = 0; i < STARTERS; i++) {
        const starter *const s = &starters[i];
        if (!has_value(s->rank) && !has_value(s->size)) continue;
        return read_starter(s, out, why) && (out->of == 1 || refuse_second(s, why));
    }
    refuse(why, "--shard=auto finds no variables of a starter of jobs (");
    for (int i = 0; i < STARTERS; i++)
        refuse_more(why, "%s%s and %s", i ? ", " : "", starters[i].rank, starters[i].size);
    return refuse_more(why, "): write --shard=I/N");
}

/* ---- both ---- */

bool shard_read(const char *text, shard *out, complaint *why)
{
    *out = (shard){1, 1};
    if (!text) return true;
    if (!strcmp(text, "auto")) return read_environment(out, why);
    const char *const slash = strchr(text, '/'), *const end = text + strlen(text);
    bool const good = slash && read_whole(text, slash, 1, &out->index) && read_whole(slash + 1, end, 1, &out->of);
    if (good && out->index <= out->of) return true;
    return refuse(why, "--shard=%.100s is no part of a run: it takes I/N with I from 1 to N, as in 2/3, or auto", text);
}
