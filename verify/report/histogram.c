/* See histogram.h. */
#include "histogram.h"

void histogram_add(histogram *h, const result *r)
{
    for (int i = 0; i < r->outputs; i++) {
        double const budget = r->output[i].budget;
        bool const legal = budget <= 1 && !r->output[i].outside;
        int const tenth = legal ? (int)(budget * TENTHS) : TENTHS;
        h->count[legal && tenth == TENTHS ? TENTHS - 1 : tenth]++;
    }
}

void histogram_print(FILE *f, const histogram *h)
{
    enum { WIDE = 6, HIGH = 18 };
    int most = 0, legal = 0;
    for (int i = 0; i <= TENTHS; i++) most = h->count[i] > most ? h->count[i] : most;
    for (int i = 0; i < TENTHS; i++) legal += h->count[i];
    if (!most) return;
    fprintf(f, "<svg width=\"%d\" height=\"%d\" role=\"img\"><title>Budgets of %d outputs, in tenths:",
            (TENTHS + 1) * WIDE, HIGH, legal + h->count[TENTHS]);
    for (int i = 0; i < TENTHS; i++) fprintf(f, " %d", h->count[i]);
    fprintf(f, "; not legal: %d</title>", h->count[TENTHS]);
    fprintf(f, "<path class=\"base\" d=\"M0 %d.5H%d\"/>", HIGH - 1, TENTHS * WIDE);
    for (int i = 0; i <= TENTHS; i++) {
        double const tall = h->count[i] ? 2 + (HIGH - 3.0) * h->count[i] / most : 0;
        if (h->count[i])
            fprintf(f, "<rect class=\"%s\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\"/>",
                    i < TENTHS ? "used" : "over", i * WIDE, HIGH - tall, WIDE - 1, tall);
    }
    fputs("</svg>", f);
}
