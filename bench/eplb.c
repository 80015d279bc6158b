/* See eplb.h. */
#include "eplb.h"

bool eplb_fits(const eplb_shape *s)
{
    bool const positive = s->experts > 0 && s->groups > 0 && s->nodes > 0 && s->devices > 0;
    return positive && s->replicas >= s->experts && s->replicas <= EPLB_MOST && s->experts % s->groups == 0 &&
           s->groups % s->nodes == 0 && s->devices % s->nodes == 0 && s->replicas % s->devices == 0;
}

/* The heaviest that isn't taken; of equal ones the first. */
static int heaviest(const double *weight, const bool *taken, int n)
{
    int at = -1;
    for (int i = 0; i < n; i++)
        if (!taken[i] && (at < 0 || weight[i] > weight[at])) at = i;
    return at;
}

/* n items into packs of n / packs each, the heaviest first, each to the lightest pack with room: at[i], the place of item i. */
static void pack(const double *weight, int n, int packs, int *at)
{
    double sum[EPLB_MOST] = {0};
    int held[EPLB_MOST] = {0};
    bool taken[EPLB_MOST] = {false};
    int const room = n / packs;
    for (int k = 0; k < n; k++) {
        int const item = heaviest(weight, taken, n);
        int lightest = -1;
        for (int p = 0; p < packs; p++)
            if (held[p] < room && (lightest < 0 || sum[p] < sum[lightest])) lightest = p;
        at[item] = room == 1 ? item : lightest * room + held[lightest];
        taken[item] = true;
        held[lightest]++, sum[lightest] += weight[item];
    }
}

/* replicas of n experts: each one more goes to the expert whose replicas carry most. of[r]: its expert; count[e]: how many. */
static void replicate(const double *weight, int n, int replicas, int *of, int *count)
{
    for (int e = 0; e < n; e++) of[e] = e, count[e] = 1;
    for (int r = n; r < replicas; r++) {
        int most = 0;
        for (int e = 1; e < n; e++)
            if (weight[e] / count[e] > weight[most] / count[most]) most = e;
        of[r] = most, count[most]++;
    }
}

/* Groups of neighbouring experts to nodes: expert[i], who stands at place i. */
static void place_groups(const eplb_shape *s, const double *load, int *expert)
{
    int const size = s->experts / s->groups;
    double sum[EPLB_MOST] = {0};
    int at[EPLB_MOST];
    for (int e = 0; e < s->experts; e++) sum[e / size] += load[e];
    pack(sum, s->groups, s->nodes, at);
    for (int e = 0; e < s->experts; e++) expert[at[e / size] * size + e % size] = e;
}

void eplb_place(const eplb_shape *s, const double *load, int *expert)
{
    int const here = s->experts / s->nodes, replicas = s->replicas / s->nodes;
    int in_node[EPLB_MOST], of[EPLB_MOST], count[EPLB_MOST], at[EPLB_MOST];
    double weight[EPLB_MOST], share[EPLB_MOST];
    place_groups(s, load, in_node);
    for (int node = 0; node < s->nodes; node++) {
        const int *const mine = in_node + node * here;
        for (int e = 0; e < here; e++) weight[e] = load[mine[e]];
        replicate(weight, here, replicas, of, count);
        for (int r = 0; r < replicas; r++) share[r] = weight[of[r]] / count[of[r]];
        pack(share, replicas, s->devices / s->nodes, at);
        for (int r = 0; r < replicas; r++) expert[node * replicas + at[r]] = mine[of[r]];
    }
}

double eplb_imbalance(const eplb_shape *s, const double *load, const int *expert)
{
    int const room = s->replicas / s->devices;
    int count[EPLB_MOST] = {0};
    double most = 0, all = 0;
    for (int p = 0; p < s->replicas; p++) count[expert[p]]++;
    for (int d = 0; d < s->devices; d++) {
        double sum = 0;
        for (int p = d * room; p < (d + 1) * room; p++) sum += load[expert[p]] / count[expert[p]];
        all += sum;
        if (sum > most) most = sum;
    }
    return all > 0 ? most * s->devices / all : 1;
}

double eplb_unmoved(int experts, int devices, const double *load)
{
    int expert[EPLB_MOST];
    eplb_shape const s = {experts, experts, 1, 1, devices};
    for (int e = 0; e < experts; e++) expert[e] = e;
    return eplb_imbalance(&s, load, expert);
}
