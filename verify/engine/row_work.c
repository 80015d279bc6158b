/* See row_work.h. */
#include "row_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is recorded ---- */

bool slot_is_output(const slot *s)
{
    return s->of != NULL;
}

static int slot_named(const row_work *k, const char *tensor, size_t length)
{
    for (int i = 0; i < k->slots; i++)
        if (strlen(k->row->slots[i].tensor) == length && !strncmp(k->row->slots[i].tensor, tensor, length)) return i;
    return -1;
}

int row_slot(const row_work *k, const char *tensor)
{
    return slot_named(k, tensor, strlen(tensor));
}

/* The tokens are always there: the command line has them. */
bool row_has(const row_work *k, int i)
{
    return (k->recorded[i] && !*k->fault[i].text) || !strcmp(k->row->slots[i].tensor, "input_ids");
}

/* NULL: it isn't recorded, or has a fault. */
static const safetensor *find_tensor(row_work *k, int i, const char *name, shaped *found)
{
    const engine_run *const e = k->w->e;
    map_scene const at = {e->recorded, e->m->config, e->m->weights};
    return name_map_find(e->names, &at, name, found, &k->fault[i]) ? &found->t : NULL;
}

/* Is the state that a module is given the stream, in front of a norm? */
static bool is_given_stream(const row_work *k, const char *name)
{
    mtp_input const given = k->w->e->names->mtp;
    return !strcmp(name, "{H}") && (given == MTP_STREAM || (given == MTP_NORM_THEN_STREAM && k->at->module > 0));
}

static void find_slot(row_work *k, int i)
{
    char first[STAGE_NAME], second[STAGE_NAME];
    const char *const other = name_parts(k->row->slots[i].name, first);
    stage_name(k->at, first, k->name[i]);
    if (is_given_stream(k, first)) stage_name_before(k->at, k->name[i]);
    k->recorded[i] = find_tensor(k, i, k->name[i], &k->first[i]);
    if (!other) return;
    stage_name(k->at, other, second);
    k->beside[i] = find_tensor(k, i, second, &k->second[i]);
    if (!k->beside[i] && k->recorded[i]) memcpy(k->name[i], second, sizeof second);
    if (!k->beside[i]) k->recorded[i] = NULL;
}

void row_find(row_work *k)
{
    for (int i = 0; i < k->slots; i++) find_slot(k, i);
}

/* What lies in the recording leaves the memory; it is read again when somebody touches it. */
static void forget(shaped *s)
{
    if (s->t.data && !s->owned) checkpoint_release(s->t.data, s->t.bytes);
    shaped_free(s);
}

void row_forget(row_work *k)
{
    for (int i = 0; i < MOST_SLOTS; i++) forget(&k->first[i]), forget(&k->second[i]);
}

bool row_wants(const row_work *k, int i)
{
    return slot_exists(k->at->config, &k->row->slots[i]);
}

/* ---- from what an output is made ---- */

static bool is_determined(const row_work *k, int i);

/* The first tensor that slot i is made of and that is neither recorded nor follows from others; -1: none. */
static int first_lacking(const row_work *k, int i)
{
    for (const char *s = k->row->slots[i].of; *s; s += strspn(s, " ")) {
        size_t const length = strcspn(s, " ");
        int parent = slot_named(k, s, length);
        if (!row_wants(k, parent)) parent = 0;
        if (!is_determined(k, parent)) return parent;
        s += length;
    }
    return -1;
}

/* Experts are chosen by the engine: another's choice stands for nobody's. */
static bool is_choice(const row_work *k, int i)
{
    return !strcmp(k->row->slots[i].tensor, "topk_idx");
}

static bool is_determined(const row_work *k, int i)
{
    if (row_has(k, i)) return true;
    return slot_is_output(&k->row->slots[i]) && !is_choice(k, i) && first_lacking(k, i) < 0;
}

bool work_has_judged(const work *w, const char *name)
{
    for (int i = 0; i < w->judged; i++)
        if (!strcmp(w->judged_name[i], name)) return true;
    return false;
}

/* Room for one item more. NULL: no memory, and the old list stays. */
static void *grown(void *list, int count, int *room, size_t size)
{
    if (count < *room) return list;
    void *const more = realloc(list, (size_t)(2 * *room + 64) * size);
    if (more) *room = 2 * *room + 64;
    return more;
}

bool work_note_judged(work *w, const char *name)
{
    void *const list = grown(w->judged_name, w->judged, &w->judged_room, sizeof *w->judged_name);
    if (!list) return refuse(w->why, "no memory for the names of stages");
    w->judged_name = list;
    snprintf(w->judged_name[w->judged++], STAGE_NAME, "%s", name);
    return true;
}

static bool add_postponed(work *w, const char *name, const char *reason, bool wrong)
{
    void *const list = grown(w->to_judge, w->later, &w->later_room, sizeof *w->to_judge);
    if (!list) return refuse(w->why, "no memory for the names of stages");
    w->to_judge = list;
    postponed *const p = &w->to_judge[w->later++];
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->reason, sizeof p->reason, "%.390s", reason);
    p->wrong = wrong;
    return true;
}

bool work_postpone(work *w, const char *name, const char *reason)
{
    return add_postponed(w, name, reason, false);
}

static void add_words(char text[STAGE_WORDS], const char *separator, const char *words)
{
    size_t const used = strlen(text);
    snprintf(text + used, STAGE_WORDS - used, "%s%s", used ? separator : "", words);
}

/* An output that is recorded and that no earlier row judged. */
static bool is_open(const row_work *k, int i)
{
    return row_wants(k, i) && slot_is_output(&k->row->slots[i]) && row_has(k, i) && !work_has_judged(k->w, k->name[i]);
}

static bool postpone_for_lack(row_work *k, int i, int lacking)
{
    char reason[STAGE_NAME + 10];
    snprintf(reason, sizeof reason, "needs %s", k->name[lacking]);
    return work_postpone(k->w, k->name[i], *k->fault[lacking].text ? k->fault[lacking].text : reason);
}

/* What each tensor is here. */
bool row_assign_roles(row_work *k)
{
    bool good = true;
    for (int i = 0; i < k->slots; i++) {
        k->role[i] = row_wants(k, i) && row_has(k, i) ? ROLE_GIVEN : ROLE_ABSENT;
        if (!is_open(k, i)) continue;
        int const lacking = first_lacking(k, i);
        if (lacking < 0)
            k->role[i] = ROLE_JUDGED;
        else
            good = good && postpone_for_lack(k, i, lacking);
    }
    return good;
}

bool row_has_judged(const row_work *k)
{
    for (int i = 0; i < k->slots; i++)
        if (k->role[i] == ROLE_JUDGED) return true;
    return false;
}

/* The row can't be judged at all. */
bool row_postpone_all(row_work *k, const char *reason)
{
    bool good = true;
    for (int i = 0; i < k->slots; i++)
        if (k->role[i] == ROLE_JUDGED) good = good && work_postpone(k->w, k->name[i], reason);
    return good;
}

void row_name_given(row_work *k)
{
    for (int i = 0; i < k->slots; i++)
        if (k->role[i] != ROLE_ABSENT &&
            (k->role[i] == ROLE_GIVEN || k->row->kind == CASE_ATTENTION || k->row->kind == CASE_MOE))
            add_words(k->told.given, ", ", k->row->slots[i].tensor);
}

/* Every fault of an output is a reason why it isn't judged, or why it is wrong. */
bool row_postpone_faulty(row_work *k)
{
    bool good = true;
    for (int i = 0; i < k->slots; i++)
        if (*k->fault[i].text && slot_is_output(&k->row->slots[i]))
            good = good && add_postponed(k->w, k->name[i], k->fault[i].text, k->first[i].unlike || k->second[i].unlike);
    return good;
}

int row_count_faults(const row_work *k)
{
    int count = 0;
    for (int i = 0; i < MOST_SLOTS; i++) count += *k->fault[i].text != 0;
    return count;
}
