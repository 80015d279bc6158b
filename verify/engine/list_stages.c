/* See list_stages.h. */
#include "list_stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STAGES = 200 };

/* All rows of a model, each once. */
typedef struct {
    const engine_run *e;
    const stage_row *row[MOST_STAGES];
    int rows, stages;
    listed_stage stage[MOST_STAGES];
} listing;

/* A pattern as a name of all layers: that of the layer before is the same, and a stream that comes in is one that came out. */
static void name_everywhere(const char *pattern, char name[STAGE_NAME])
{
    static const struct {
        const char *brace, *text;
    } meanings[] = {{"{L}", "model.layers.{N}"},
                    {"{P}", "model.layers.{N}"},
                    {"{K}", "mtp.{K}"},
                    {"{HEAD}", "lm_head"},
                    {"{H}", "model.norm.output"},
                    {"{S}", "model.layers.{N}.hidden_states"},
                    {"{T}", "model.layers.{N}.hidden_states"}};
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        size_t const length = strlen(meanings[i].brace);
        if (strncmp(pattern, meanings[i].brace, length) != 0) continue;
        snprintf(name, STAGE_NAME, "%s%s", meanings[i].text, pattern + length);
        return;
    }
    snprintf(name, STAGE_NAME, "%s", pattern);
}

/* Is the name one of a pattern's, which may be two side by side? */
static bool is_part(const char *pattern, const char *name)
{
    char first[STAGE_NAME], part[STAGE_NAME];
    const char *const second = name_parts(pattern, first);
    name_everywhere(first, part);
    if (!strcmp(part, name)) return true;
    if (!second) return false;
    name_everywhere(second, part);
    return !strcmp(part, name);
}

static listed_stage *stage_named(listing *l, const char *name)
{
    for (int i = 0; i < l->stages; i++)
        if (!strcmp(l->stage[i].name, name)) return &l->stage[i];
    if (l->stages == MOST_STAGES) return NULL;
    listed_stage *const s = &l->stage[l->stages++];
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static bool is_recorded(const engine_run *e, const char *name)
{
    complaint fault;
    shaped found;
    map_scene const at = {e->recorded, e->m->config, e->m->weights};
    bool const there = name_map_find(e->names, &at, name, &found, &fault);
    shaped_free(&found);
    return there;
}

static bool was_seen(const listing *l, const stage_row *row)
{
    for (int i = 0; i < l->rows; i++)
        if (l->row[i] == row) return true;
    return false;
}

/* An output at this place. */
static void count_place(listing *l, const place *at, const slot *output)
{
    char name[STAGE_NAME], here[STAGE_NAME];
    name_everywhere(output->name, name);
    stage_name(at, output->name, here);
    listed_stage *const s = stage_named(l, name);
    if (!s) return;
    s->places++;
    s->recorded += is_recorded(l->e, here);
}

/* The row's outputs. One that several rows have counts in the first of them. */
static void count_places(void *context, const place *at, const stage_row *row)
{
    listing *const l = context;
    if (!was_seen(l, row) && l->rows < MOST_STAGES) l->row[l->rows++] = row;
    for (int i = 0; i < slots_in(row); i++)
        if (row->slots[i].of && row->kind != CASE_NORM_ADDS && slot_exists(at->config, &row->slots[i]))
            count_place(l, at, &row->slots[i]);
}

/* The sums that norms hand on have no row of their own. */
static void count_sums(void *context, const place *at, const stage_row *row)
{
    if (row->kind == CASE_NORM_ADDS) count_place(context, at, &row->slots[3]);
}

/* Is the word one of the list? */
static bool names_word(const char *list, const char *separators, const char *word)
{
    size_t const length = strlen(word);
    for (const char *s = list; *s; s += strcspn(s, separators), s += strspn(s, separators))
        if (strcspn(s, separators) == length && !strncmp(s, word, length)) return true;
    return false;
}

static void add_name(char text[STAGE_WORDS], const char *name)
{
    size_t const used = strlen(text);
    if (!names_word(text, ", ", name)) snprintf(text + used, STAGE_WORDS - used, "%s%s", used ? ", " : "", name);
}

static bool has_tensor(const stage_row *row, const char *name)
{
    for (int i = 0; i < slots_in(row); i++)
        if (is_part(row->slots[i].name, name)) return true;
    return false;
}

/* Has another row of the same module this output, without that tensor? A norm has one for its sum, and one for what was summed. */
static bool other_row_has(const listing *l, const stage_row *row, const char *output, const char *tensor)
{
    for (int r = 0; r < l->rows; r++) {
        const stage_row *const other = l->row[r];
        if (!strcmp(other->module, row->module) && has_tensor(other, output) && !has_tensor(other, tensor)) return true;
    }
    return false;
}

/* What a row costs that lacks tensor number `lacking`: an output that is made of it is made of what that is made of, or, where that
 * is an input or a choice, of nothing. */
static void cost_in(const listing *l, const stage_row *row, int lacking, listed_stage *s)
{
    const slot *const lost = &row->slots[lacking];
    bool const follows = lost->of && strcmp(lost->tensor, "topk_idx") != 0;
    for (int i = 0; i < slots_in(row); i++) {
        char name[STAGE_NAME];
        if (!row->slots[i].of || !names_word(row->slots[i].of, " ", lost->tensor)) continue;
        name_everywhere(row->slots[i].name, name);
        if (follows)
            add_name(s->wider, name);
        else if (!other_row_has(l, row, name, s->name))
            add_name(s->unjudged, name);
    }
}

static void find_costs(const listing *l, listed_stage *s)
{
    for (int r = 0; r < l->rows; r++)
        for (int i = 0; i < slots_in(l->row[r]); i++)
            if (is_part(l->row[r]->slots[i].name, s->name)) cost_in(l, l->row[r], i, s);
}

bool list_stages(const engine_run *e, on_listed_stage *call, void *context, complaint *why)
{
    listing *const l = calloc(1, sizeof *l);
    if (!l) return refuse(why, "no memory for the list of stages");
    l->e = e;
    for_each_row(e->m->config, e->m->n_tokens, count_places, l);
    for_each_row(e->m->config, e->m->n_tokens, count_sums, l);
    for (int i = 0; i < l->stages; i++) {
        find_costs(l, &l->stage[i]);
        call(context, &l->stage[i]);
    }
    free(l);
    return true;
}
