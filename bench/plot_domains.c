/* The figure of the experts' loads by the kind of text. Source: DeepSeek-V3 report (arXiv 2412.19437) fig. 9. */
#include "plot.h"

#include <math.h>

static double sum_of(const domain *d, int layer)
{
    double sum = 0;
    for (int e = 0; e < d->experts; e++) sum += d->load[layer * d->experts + e];
    return sum;
}

static double violation(const domain *d, int layer)
{
    double most = 0;
    for (int e = 0; e < d->experts; e++) most = fmax(most, d->load[layer * d->experts + e]);
    return most * d->experts / sum_of(d, layer) - 1;
}

static double mean_violation_of(const domain *d)
{
    double sum = 0;
    for (int l = 0; l < d->layers; l++) sum += violation(d, l);
    return sum / d->layers;
}

/* ---- checks ---- */

/* Each token is one load for each expert that it chose, and chooses as many everywhere. */
static void check_sums(const domains *d, checks *c)
{
    double const chosen = sum_of(&d->line[0], 0) / d->line[0].tokens;
    int uneven = 0;
    for (int i = 0; i < d->count; i++)
        for (int l = 0; l < d->line[i].layers; l++) uneven += sum_of(&d->line[i], l) != chosen * d->line[i].tokens;
    check(c, chosen >= 1 && chosen == floor(chosen) && !uneven,
          "every layer's loads are %g times the tokens, %d are not", chosen, uneven);
}

/* The first line is of the text that was learned. */
void domains_check(const domains *d, checks *c)
{
    check_sums(d, c);
    double const home = mean_violation_of(&d->line[0]);
    for (int i = 1; i < d->count; i++)
        check(c, mean_violation_of(&d->line[i]) > home, "%s: MaxVio %.2f, mean of the layers; on %s it is %.2f",
              d->line[i].text, mean_violation_of(&d->line[i]), d->line[0].text, home);
}

/* ---- the figure ---- */

/* From above: layer by layer, the texts of each. */
static int row_of(const domains *d, int layer, int text)
{
    return (d->line[0].layers - layer) * (d->count + 1) - text - 1;
}

static void print_cells(FILE *g, const domains *d)
{
    fprintf(g, "$load << EOD\n");
    for (int l = 0; l < d->line[0].layers; l++)
        for (int i = 0; i < d->count; i++)
            for (int e = 0; e < d->line[i].experts; e++)
                fprintf(g, "%d %d %.4g\n", e, row_of(d, l, i),
                        d->line[i].load[l * d->line[i].experts + e] * d->line[i].experts / sum_of(&d->line[i], l));
    fprintf(g, "EOD\n");
}

static void print_names(FILE *g, const domains *d)
{
    fprintf(g, "set ytics (");
    for (int l = 0; l < d->line[0].layers; l++)
        for (int i = 0; i < d->count; i++) {
            script_text const name = script_text_of(d->line[i].text);
            fprintf(g, "%s'%s' %d", l || i ? ", " : "", name.quoted, row_of(d, l, i));
        }
    fprintf(g, ") font ',10'\n");
    for (int l = 0; l < d->line[0].layers; l++)
        fprintf(g, "set label 'layer with experts %d' at %d,%.1f font ',10' textcolor rgb '#555555'\n", l + 1, 0,
                row_of(d, l, 0) + 0.95);
}

static void draw_domains(FILE *g, const domains *d)
{
    script_text const model = script_text_of(d->line[0].model);
    int const rows = d->line[0].layers * (d->count + 1);
    print_cells(g, d);
    print_names(g, d);
    fprintf(
        g,
        "set title 'Load of each expert by the kind of text, %s'\nset lmargin 16\nset grid noytics\n"
        "set xrange [-0.5:%g]\nset yrange [-0.7:%g]\nset xlabel 'expert'\nset border 0\nset tics scale 0\n"
        "set cbrange [0:4]\nset palette defined (0 '#2166ac', 1 '#f7f7f7', 4 '#b2182b')\n"
        "set cblabel 'load over the mean (4 and more)'\n"
        "plot $load using 1:2:(0.5):(0.45):($3 > 4 ? 4 : $3) with boxxyerror fs solid noborder lc palette notitle\n",
        model.quoted, d->line[0].experts - 0.5, rows - 0.2);
}

bool domains_figures(const domains *d, const char *folder, complaint *why)
{
    figure f;
    figure_source const from = {"domains", d->file, "bench/studies.sh domains", "binary32"};
    if (!figure_begin(&f, folder, "balance_domains", &from, why)) return false;
    draw_domains(f.script, d);
    return figure_end(&f, why);
}
