/* Text of others in XML, HTML and Markdown, and the small pictures between it. */
#include "report/markup.h"
#include "report/histogram.h"

#include <criterion/criterion.h>
#include <math.h>

TestSuite(markup, .timeout = 10);

typedef void printer(FILE *f, const char *text);

static void expect(printer *print, const char *text, const char *shown)
{
    char out[256] = "";
    FILE *const f = fmemopen(out, sizeof out, "w");
    print(f, text);
    fclose(f);
    cr_expect(!strcmp(out, shown), "%s becomes %s, not %s", text, out, shown);
}

Test(markup, xml_has_its_five_signs_as_numbers)
{
    expect(print_markup, "a<b>&\"'c", "a&#60;b&#62;&#38;&#34;&#39;c");
    expect(print_markup, "]]>\n::error::", "]]&#62;&#10;::error::");
    expect(print_markup, "acc 24 rn; z@[1]_{2}|3|~4`5\\", "acc 24 rn; z@[1]_{2}|3|~4`5\\");
}

Test(markup, what_no_document_may_hold_is_shown)
{
    expect(print_markup, "\x1b[31m\x01\x7f", "\\x1b[31m\\x01\\x7f");
    expect(print_markup, "\xff\xc0\x80", "\\xff\\xc0\\x80");
    expect(print_markup, "\xef\xbf\xbe\xef\xbf\xbd", "&#92;xef&#92;xbf&#92;xbe\xef\xbf\xbd");
    expect(print_markup,
           "\xe2\x80\xae"
           "h\xc3\xa9",
           "\\xe2\\x80\\xaeh\xc3\xa9");
    expect(print_markdown, "\x1b", "&#92;x1b");
}

Test(markup, markdown_has_none_of_its_own)
{
    expect(print_markdown, "a_b*c`d|e", "a&#95;b&#42;c&#96;d&#124;e");
    expect(print_markdown, "[x](y)\n# z", "&#91;x&#93;(y)&#10;&#35; z");
    expect(print_markdown, "o 98 %, 3/4", "o 98 %, 3/4");
}

static int rects_of(const output_stats *output, const char *kind)
{
    static result r;
    char out[2000] = "";
    int n = 0;
    histogram h = {{0}};
    r = (result){.outputs = 1};
    r.output[0] = *output;
    histogram_add(&h, &r);
    FILE *const f = fmemopen(out, sizeof out, "w");
    histogram_print(f, &h);
    fclose(f);
    for (const char *at = out; (at = strstr(at, kind)); at++) n++;
    return n;
}

/* What is just legal is legal. */
Test(markup, a_budget_of_one_is_used_up)
{
    static const output_stats rows[] = {{.budget = 0}, {.budget = 0.999}, {.budget = 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(rects_of(&rows[i], "class=\"used\""), 1, "%g", rows[i].budget);
        cr_expect_eq(rects_of(&rows[i], "class=\"over\""), 0, "%g", rows[i].budget);
    }
    static const output_stats bad[] = {{.budget = 1.001, .outside = 1},
                                       {.budget = (double)INFINITY, .outside = 1},
                                       {.budget = (double)NAN, .outside = 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(rects_of(&bad[i], "class=\"over\""), 1, "%g", bad[i].budget);
}
