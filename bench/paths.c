/* See paths.h. */
#include "paths.h"

#include "progress.h"
#include "subjects.h"
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const paths[] = {"fma", "dpbf16", "amx", NULL};

/* The port as it is with this DSV3_FAST. False: it can't be had. */
static bool load_path(const backend *b, const char *path, loaded_port *loaded)
{
    answer a = {0};
    setenv("DSV3_FAST", path, 1);
    return load_port(b, loaded, &a);
}

/* As the port declares the case now. */
static const char *declaration(const rotation *r, const loaded_port *loaded)
{
    const char *const text =
        loaded->table.numerics ? loaded->table.numerics(r->p->op->name, r->p->prob.bytes, r->io[0]) : NULL;
    return text ? text : "";
}

static bool path_passes(const char *path, const problem *p)
{
    option_list const names = {1, {"avx512"}};
    complaint why;
    setenv("DSV3_FAST", path, 1);
    subjects *const s = subjects_open(&names, NULL, &why);
    bool const good = s && subjects_judge(s, p, &why);
    subjects_close(s);
    return good;
}

int faster_pairs(rotation *r, const loaded_port *loaded, const loaded_port *other, bool prepared, double *gain)
{
    double ratio[SAMPLES];
    int faster = 0;
    if (prepared && rotation_prepare(r, other) < 0) return 0;
    if (has_experts(r->p)) rotation_first(r, other);
    int64_t const n = rotation_calls(r, loaded, sample_seconds);
    rotation_call(r, other, n);
    for (int i = 0; i < SAMPLES; i++) {
        double const ours = rotation_call(r, loaded, n);
        ratio[i] = ours / rotation_call(r, other, n);
        faster += ratio[i] > 1.03;
    }
    if (prepared) rotation_unprepare(r, other);
    sort_values(ratio, SAMPLES);
    *gain = ratio[SAMPLES / 2];
    return faster;
}

/* Times one other path beside this one, and says so if it is faster in every pair and the judge passes it. */
static void try_path(rotation *r, const backend *b, const char *path, const loaded_port *loaded, bool prepared)
{
    loaded_port other;
    double gain;
    bool const there = load_path(b, path, &other);
    int const faster = there ? faster_pairs(r, loaded, &other, prepared, &gain) : 0;
    if (there) unload_port(&other);
    if (faster < SAMPLES || !path_passes(path, r->p)) return;
    progress_hide();
    fprintf(stderr, "bench: %s: DSV3_FAST=%s would have been faster, %.2f times\n", r->p->id, path, gain);
}

/* A path that there isn't declares the arithmetic of another. */
void try_paths(rotation *r, const backend *b, const loaded_port *loaded, bool prepared)
{
    char here[REF_NUMERICS_CAP], before[REF_NUMERICS_CAP] = "", given[64];
    const char *const forced = getenv("DSV3_FAST");
    snprintf(here, sizeof here, "%s", declaration(r, loaded));
    snprintf(given, sizeof given, "%s", forced ? forced : "");
    for (int i = 0; paths[i]; i++) {
        setenv("DSV3_FAST", paths[i], 1);
        const char *const there = declaration(r, loaded);
        bool const other = strcmp(here, there) && strcmp(before, there);
        snprintf(before, sizeof before, "%s", there);
        if (other) try_path(r, b, paths[i], loaded, prepared);
    }
    if (forced)
        setenv("DSV3_FAST", given, 1);
    else
        unsetenv("DSV3_FAST");
}
