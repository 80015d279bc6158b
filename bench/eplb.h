/*
 * Where experts go when each device holds some: DeepSeek's expert-parallel load balancer, which gives experts of much load
 * replicas and packs them evenly. Source: deepseek-ai/EPLB, README.md and eplb.py, rebalance_experts.
 */
#ifndef EPLB_H
#define EPLB_H

#include <stdbool.h>

enum { EPLB_MOST = 1024 }; /* experts, replicas */

/* Sizes divide each other: groups of experts go to nodes, replicas to the devices of a node. */
typedef struct {
    int experts, replicas, groups, nodes, devices;
} eplb_shape;

bool eplb_fits(const eplb_shape *s);

/* expert[p]: whose replica lies at place p; places p with equal p / (replicas / devices) are one device's. load[e] >= 0. */
void eplb_place(const eplb_shape *s, const double *load, int *expert);

/* The largest load of a device over the mean, an expert's load being shared by its replicas. */
double eplb_imbalance(const eplb_shape *s, const double *load, const int *expert);

/* The same with expert e at place e, and no replicas. */
double eplb_unmoved(int experts, int devices, const double *load);

#endif
