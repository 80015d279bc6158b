/* See subjects.h. */
#include "subjects.h"

#include "commands/memory.h"
#include "files/products.h"
#include "run/case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool resolve(const char *name, backend *b, complaint *why)
{
    if (!backend_resolve(name, b, why)) return false;
    if (*b->absent) return refuse(why, "%s is %s", b->name, b->absent);
    if (b->emulated) return refuse(why, "%s: its kernels run on a machine in software, whose time says nothing", name);
    return b->kind != BACKEND_PROGRAM || refuse(why, "%s is a program; bench times ports in C", b->name);
}

static bool resolve_all(subjects *s, const option_list *names, const char *const shown[], complaint *why)
{
    if (names->count > MAX_BACKENDS) return refuse(why, "%d ports are more than %d", names->count, MAX_BACKENDS);
    for (int i = 0; i < names->count; i++) {
        if (!resolve(names->item[i], &s->of[i], why)) return false;
        if (shown) snprintf(s->of[i].name, sizeof s->of[i].name, "%.63s", shown[i]);
    }
    if (!shown) backends_number(s->of, names->count);
    return true;
}

/* text: as it was asked for. */
static bool open_judge(subjects *s, int i, const char *text, complaint *why)
{
    port_limits const limits = {.timeout = 600};
    s->judged[i] = port_open(&s->of[i], limits);
    if (port_is(s->judged[i]) == PORT_READY) return true;
    return refuse(why, "%s can't be timed here: %s", text, port_why(s->judged[i]));
}

static bool open_all(subjects *s, const option_list *names, const char *const shown[], complaint *why)
{
    if (!resolve_all(s, names, shown, why)) return false;
    for (; s->count < names->count; s->count++)
        if (!open_judge(s, s->count, shown ? shown[s->count] : names->item[s->count], why)) return false;
    return true;
}

bool subjects_load(subjects *s, complaint *why)
{
    answer a = {0};
    for (; s->loads < s->count; s->loads++)
        if (!load_port(&s->of[s->loads], &s->loaded[s->loads], &a))
            return refuse(why, "%s: %s", s->of[s->loads].name, a.why);
    return true;
}

subjects *subjects_open(const option_list *names, const char *const shown[], complaint *why)
{
    subjects *const s = calloc(1, sizeof *s);
    if (!s) return refuse(why, "no memory for the ports"), NULL;
    if (open_all(s, names, shown, why)) return s;
    subjects_close(s);
    return NULL;
}

void subjects_close(subjects *s)
{
    if (!s) return;
    for (int i = 0; i < s->loads; i++) unload_port(&s->loaded[i]);
    for (int i = 0; i < MAX_BACKENDS; i++)
        if (s->judged[i]) port_close(s->judged[i]);
    free(s);
}

bool staged_id(const problem *p, char *id, size_t cap)
{
    const field_row *const stages = op_field(p->op, "stages");
    if (!stages || problem_field(p, stages) != 0) return false;
    char *const said = strstr(strcpy(id, p->id), "stages=0");
    if (said) return said[7] = '1', true;
    int const keys = (int)strcspn(p->id, ";");
    bool const any = memchr(p->id, ':', (size_t)keys) != NULL;
    int const n = snprintf(id, cap, "%.*s%cstages=1%s", keys, p->id, any ? ',' : ':', p->id + keys);
    return n > 0 && (size_t)n < cap;
}

bool verdict_counts(const result *r, const problem *p, port *of)
{
    problem staged;
    complaint why;
    char id[sizeof p->id];
    if (r->v != VACUOUS || !staged_id(p, id, sizeof id)) return r->v == PASS;
    if (!problem_parse(id, &staged, &why)) return false;
    result judged;
    run_case(&staged, NULL, &of, 1, 0, &judged);
    problem_close(&staged);
    return judged.v == PASS;
}

bool subject_passed(const subjects *s, int i)
{
    return s->passed[i];
}

bool subject_refused(const subjects *s, int i, const problem *p, complaint *why)
{
    const result *const r = &s->verdict[i];
    return refuse(why, "%s on %s is %s, and only what passes is timed: %s", p->id, s->of[i].name, verdict_name(r->v),
                  r->why);
}

bool subjects_judge(subjects *s, const problem *p, complaint *why)
{
    if (problem_calls(p) > 1) return refuse(why, "%s is a sequence of calls, and only one call is timed", p->id);
    run_case(p, NULL, s->judged, s->count, 0, s->verdict);
    for (int i = 0; i < s->count; i++) s->passed[i] = verdict_counts(&s->verdict[i], p, s->judged[i]);
    for (int i = 0; i < s->count; i++)
        if (!s->passed[i]) return subject_refused(s, i, p, why);
    return true;
}

/* Files that lie beside the program. */
static bool is_ours(const char *word)
{
    static const char *const names[] = {"@perf", "@layer", "@exact", "@peers"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(word, names[i])) return true;
    return false;
}

static bool add_cases(case_list *list, const char *word, complaint *why)
{
    char folder[500], ours[600];
    products_folder(folder, sizeof folder);
    snprintf(ours, sizeof ours, "@%s/%s.txt", folder, word + (*word == '@'));
    return cases_add(list, is_ours(word) ? ours : word, why);
}

static bool can_be_timed(double available, const problem *p, complaint *why)
{
    if (problem_calls(p) == 1) return memory_holds(available, p, false, why);
    return refuse(why, "%s is a sequence of calls, and only one call is timed: take a step of it, such as %s", p->id,
                  problem_step(p, 0)->id);
}

bool subjects_cases(case_list *list, int count, char *const word[], complaint *why)
{
    for (int i = 0; i < count; i++)
        if (!add_cases(list, word[i], why)) return false;
    double const available = memory_available();
    if (!list->count) return refuse(why, "%s holds no case: write one a line, as in rmsnorm@v3", word[0]);
    for (int i = 0; i < list->count; i++)
        if (!can_be_timed(available, list->problem[i], why)) return false;
    return true;
}
