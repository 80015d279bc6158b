/* See failure.h. */
#include "failure.h"

#include "judge/finding.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* "step 2 of 3, ID: ..." is said of sequences alone. */
static const char *behind_step(const char *why)
{
    const char *const end = strncmp(why, "step ", 5) ? NULL : strstr(why, ": ");
    return end ? end + 2 : why;
}

/* Words that begin with a digit are left out, and one blank. */
static void without_numbers(const char *why, char *text, size_t cap)
{
    static const char number[] = "0123456789abcdef.";
    size_t used = 0;
    for (const char *at = behind_step(why); *at && used + 1 < cap; at++) {
        bool const first = at == why || !isalnum((unsigned char)at[-1]);
        if (first && isdigit((unsigned char)*at))
            at += strspn(at + 1, number) + (at[strspn(at + 1, number) + 1] == ' ');
        else
            text[used++] = *at;
    }
    text[used] = 0;
}

static const char *first_illegal(const result *r)
{
    for (int i = 0; i < r->outputs; i++)
        if (r->output[i].outside) return r->output[i].name;
    return "";
}

/* The known mistakes that it is named after. */
static ref_set names_of(const result *r)
{
    ref_set names = ref_none();
    if (r->statistical && r->sensed.quirk >= 0 && is_along(&r->sensed)) ref_add(&names, r->sensed.quirk);
    for (int i = 0; i < r->diagnoses && result_is_diagnosed(r); i++)
        if (r->diagnosis[i].illegal == r->diagnosis[0].illegal) ref_add(&names, r->diagnosis[i].quirk);
    return names;
}

static bool is_judged(const result *r)
{
    return r->v == FAIL || r->v == NOT_A_NUMBER || r->v == SUSPECT;
}

failure failure_of(const result *r)
{
    failure f = {.v = r->v, .statistical = r->statistical, .names = names_of(r)};
    const senses *const s = &r->sensed;
    if (!is_judged(r)) {
        without_numbers(r->why, f.why, sizeof f.why);
        return f;
    }
    snprintf(f.output, sizeof f.output, "%s", first_illegal(r));
    if (s->filters) snprintf(f.along, sizeof f.along, "%s", is_along(s) ? s->filter : s->population);
    return f;
}

/* Is each of a a member of b? */
static bool is_within(ref_set a, ref_set b)
{
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(a, q) && !ref_has(b, q)) return false;
    return true;
}

/* Of illegal numbers that were so in the first case, too. */
static bool is_named_alike(const failure *first, const failure *other)
{
    if (!is_within(other->names, first->names)) return false;
    if (!ref_is_empty(first->names)) return !ref_is_empty(other->names);
    return !strcmp(first->output, other->output);
}

bool failure_is_same(const failure *first, const failure *other)
{
    if (first->v != other->v || (other->statistical && !first->statistical)) return false;
    if (first->statistical && !other->statistical && !ref_is_empty(other->names))
        return is_within(other->names, first->names);
    if (first->statistical) return !strcmp(first->along, other->along);
    return is_named_alike(first, other) && !strcmp(first->why, other->why);
}

/* The names of the mistakes, with " or " between them. */
static void describe_names(ref_set names, char *text, size_t cap)
{
    size_t used = 0;
    for (int q = 0; ref_quirk(q) && used < cap; q++)
        if (ref_has(names, q))
            used += (size_t)snprintf(text + used, cap - used, "%s%s", used ? " or " : "", ref_quirk(q)->name);
}

void failure_describe(const failure *f, char *text, size_t cap)
{
    char names[300] = "";
    describe_names(f->names, names, sizeof names);
    const char *const basis = f->v != FAIL ? "" : f->statistical ? "(statistical)" : "(proved)";
    if (*f->why)
        snprintf(text, cap, "%s:%s%s", verdict_name(f->v), *f->why == ' ' ? "" : " ", f->why);
    else if (*names)
        snprintf(text, cap, "%s%s, %s", verdict_name(f->v), basis, names);
    else if (f->statistical)
        snprintf(text, cap, "%s%s, along %s", verdict_name(f->v), basis, f->along);
    else
        snprintf(text, cap, "%s%s in %s, of no known mistake", verdict_name(f->v), basis, f->output);
}
