/* See unknown_word.h. */
#include "unknown_word.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 60, FAR = 100 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* How many letters are put in, left out, changed, or swapped with the next. */
static int distance_of(const char *a, int n, const char *b, int m)
{
    int row[3][LONGEST + 1]; /* of the letters of a: the one before the last, the last, this */
    if (n > LONGEST || m > LONGEST) return FAR;
    for (int j = 0; j <= m; j++) row[1][j] = j;
    for (int i = 1; i <= n; i++) {
        row[2][0] = i;
        for (int j = 1; j <= m; j++) {
            int const changed = row[1][j - 1] + !same(a[i - 1], b[j - 1]);
            row[2][j] = least(changed, least(row[1][j], row[2][j - 1]) + 1);
            bool const swapped = i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]);
            if (swapped) row[2][j] = least(row[2][j], row[0][j - 2] + 1);
        }
        memmove(row[0], row[1], 2 * sizeof row[0]);
    }
    return row[1][m];
}

static bool begins_with(const char *known, const char *word, size_t length)
{
    size_t i = 0;
    while (i < length && known[i] && same(known[i], word[i])) i++;
    return i == length;
}

void unknown_word_offer(unknown_word *u, const char *known)
{
    size_t const all = u->length ? u->length : strlen(u->word);
    size_t const dashes = strspn(u->word, "-"), length = all > dashes ? all - dashes : 0;
    const char *const word = u->word + dashes, *const bare = known + strspn(known, "-");
    int const near = length < 2 ? 0 : length < 5 ? 1 : 2;
    int const changes = length > LONGEST ? FAR : distance_of(word, (int)length, bare, (int)strlen(bare));
    bool const begins = length >= 3 && begins_with(bare, word, length);
    int const distance = changes <= near ? changes : begins ? near + 1 : FAR;
    refuse_more(&u->known, "%s%s", *u->known.text ? ", " : "", known);
    if (distance == FAR || (u->nearest && distance >= u->distance)) return;
    u->nearest = known;
    u->distance = distance;
}

bool unknown_word_refuse(const unknown_word *u, const char *known, complaint *why)
{
    if (u->nearest) return refuse_more(why, "; did you mean '%s'?", u->nearest);
    return refuse_more(why, "; %s %s", known, u->known.text);
}
