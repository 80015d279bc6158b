/* See verdict.h. */
#include "verdict.h"

#include <stddef.h>

static bool ends(const char *text, size_t cap)
{
    return memchr(text, 0, cap) != NULL;
}

/* A bool of a struct in bytes is 0 or 1; anything else may not be read as one. */
static bool is_bool(const unsigned char *bytes, size_t at)
{
    return bytes[at] <= 1;
}

static bool is_sound_output(const output_stats *o, const unsigned char *bytes)
{
    static const size_t bools[] = {offsetof(output_stats, bits_exact), offsetof(output_stats, bits_none),
                                   offsetof(output_stats, constant), offsetof(output_stats, vacuous)};
    bool good = ends(o->name, sizeof o->name);
    for (size_t i = 0; i < sizeof bools / sizeof *bools; i++) good = good && is_bool(bytes, bools[i]);
    good = good && o->ndim >= 0 && o->ndim <= DSV3_MAX_NDIM && (unsigned)o->dtype < DSV3_DTYPES;
    int64_t count = 1;
    for (int d = 0; good && d < o->ndim; d++)
        good = o->shape[d] >= 0 && !__builtin_mul_overflow(count, o->shape[d], &count);
    return good && o->count == count && o->worst >= -1 && o->worst < count && o->outside >= 0 && o->undecided >= 0 &&
           o->single >= 0 && o->mutants >= 0 && o->survivors >= 0 && o->bad_rows >= 0 && o->bad_columns >= 0;
}

static bool is_sound(const result *r, const unsigned char *bytes)
{
    const senses *const s = &r->sensed;
    bool good = is_bool(bytes, offsetof(result, statistical)) && ends(s->rung, sizeof s->rung) &&
                ends(s->filter, sizeof s->filter) && ends(s->words, sizeof s->words) && s->quirk >= -1 &&
                s->quirk < REF_QUIRKS && is_bool(bytes, offsetof(result, sensed) + offsetof(senses, alone)) &&
                s->known >= 0 && ends(s->population, sizeof s->population) && s->filters >= 0 &&
                is_bool(bytes, offsetof(result, constant)) && is_bool(bytes, offsetof(result, choice_illegal)) &&
                (unsigned)r->v < VERDICTS && (unsigned)r->skip < SKIP_REASONS && ends(r->why, sizeof r->why) &&
                ends(r->declared, sizeof r->declared) && ends(r->assumed, sizeof r->assumed) &&
                ends(r->choice, sizeof r->choice) && ends(r->port_output, sizeof r->port_output) &&
                ends(r->undiagnosed, sizeof r->undiagnosed) && ends(r->way_out, sizeof r->way_out) &&
                ends(r->not_made, sizeof r->not_made) && r->outputs >= 0 && r->outputs <= MAX_OUTPUTS &&
                r->flips >= 0 && r->diagnoses >= 0 && r->diagnoses <= MAX_DIAGNOSES;
    for (int i = 0; good && i < r->outputs; i++)
        good = is_sound_output(&r->output[i], bytes + offsetof(result, output) + (size_t)i * sizeof(output_stats));
    for (int i = 0; good && i < r->diagnoses; i++)
        good = r->diagnosis[i].quirk >= 0 && r->diagnosis[i].quirk < REF_QUIRKS && r->diagnosis[i].other >= -1 &&
               r->diagnosis[i].other < REF_QUIRKS;
    return good;
}

bool verdict_read(const void *bytes, size_t size, result *out)
{
    if (size != sizeof *out) return false;
    memcpy(out, bytes, size);
    return is_sound(out, bytes);
}
