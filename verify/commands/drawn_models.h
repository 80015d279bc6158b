/*
 * Truth of a model, and whole models as ports that are drawn compute them: what is said of an engine that can't be judged stage by stage.
 */
#ifndef DRAWN_MODELS_H
#define DRAWN_MODELS_H

#include "engine/sections.h"
#include "model/model.h"

enum { FEWEST_DRAWN = 8, MOST_DRAWN = 1024, USUAL_DRAWN = 32 };

/* The main model, without MTP modules. outputs is opened; close it either way. False: one sentence in why. */
bool run_truth_of(const model_run *m, dump *outputs, complaint *why);

/* Port `number` of `all`, in the format of m and with the arithmetic of n. */
bool run_drawn_model(const model_run *m, const sections *n, int number, int all, dump *outputs, complaint *why);

/* Does it choose other experts than truth somewhere? */
bool chooses_others(const dump *truth, const dump *drawn);

/* What no port is below, and what half of the ports, nine of ten and all are at most. */
typedef struct {
    int ports;
    double least, half, most_of, all;
} band;

band band_of_ports(const double *value, int ports);

/* As many times the largest of the ports as that is the least, and twice that at least, for a result may be rounded once more: a port
 * that is drawn does not go there (docs/engines.md). 0 if no port is off at all. */
double limit_of(band b);

#endif
