/* See reader.h. */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN "judge that shard again"

static bool refuse_reader(const reader *r, complaint *why, const char *sentence)
{
    return refuse_file(&(about_file){r->path, why}, "%s", sentence);
}

/* NULL: one sentence in why. */
static json_t *read_line(reader *r, complaint *why)
{
    ssize_t const length = getline(&r->text, &r->cap, r->f);
    bool const torn = length < 0 || r->text[length - 1] != '\n';
    if (length < 0 && ferror(r->f)) return refuse(why, "cannot read %s: %s", r->path, strerror(errno)), NULL;
    if (torn) return refuse_reader(r, why, "ends before its last line, as when a run was killed: " AGAIN), NULL;
    r->line++;
    json_t *const line = json_loadb(r->text, (size_t)length, JSON_REJECT_DUPLICATES, NULL);
    if (!line) refuse_file(&(about_file){r->path, why}, "line %ld is no JSON: " AGAIN, r->line);
    return line;
}

bool reader_open(reader *r, const char *path, complaint *why)
{
    *r = (reader){.path = path, .f = fopen(path, "r")};
    if (!r->f) return refuse(why, "cannot read %s: %s", path, strerror(errno));
    r->head = read_line(r, why);
    if (r->head && run_of_json(r->head, &r->about, &r->run)) return true;
    if (ferror(r->f)) return false;
    return refuse_reader(r, why, "does not begin as what verify run --format=jsonl writes: name such a file");
}

/* The result of port b. */
static bool read_result(reader *r, int b, char **id, result *out, complaint *why)
{
    const char *this_id = NULL, *backend = NULL;
    json_t *const line = read_line(r, why);
    bool good = line && result_of_json(line, &this_id, &backend, out) && !strcmp(backend, r->run.text[b]);
    if (good && b == 0) *id = strdup(this_id);
    good = good && *id && !strcmp(*id, this_id);
    if (line && json_object_get(line, "end"))
        refuse_reader(r, why, "ends before its last case, as when a run was interrupted: " AGAIN);
    else if (line && !good)
        refuse_file(&(about_file){r->path, why}, "line %ld is not the result that belongs there: " AGAIN, r->line);
    json_decref(line);
    return good;
}

bool reader_next(reader *r, char **id, result results[], complaint *why)
{
    *id = NULL;
    for (int b = 0; b < r->run.backends; b++)
        if (!read_result(r, b, id, &results[b], why)) return free(*id), *id = NULL, false;
    return true;
}

bool reader_end(reader *r, tally *end, complaint *why)
{
    json_t *const line = read_line(r, why);
    if (!line) return false;
    bool const good = end_of_json(line, end) && sights_of_json(line, &r->run, &r->sights) && getc(r->f) == EOF;
    json_decref(line);
    if (good && end->interrupted) return refuse_reader(r, why, "is of a run that was interrupted: " AGAIN);
    return good || refuse_reader(r, why, "does not end as what verify run --format=jsonl writes: " AGAIN);
}

bool reader_rewind(reader *r, complaint *why)
{
    rewind(r->f);
    r->line = 0;
    json_t *const line = read_line(r, why);
    json_decref(line);
    return line != NULL;
}

void reader_close(reader *r)
{
    if (r->f) fclose(r->f);
    free(r->text);
    json_decref(r->head);
    sights_free(&r->sights);
    *r = (reader){.f = NULL};
}
