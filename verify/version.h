/* Which program this is. */
#ifndef VERSION_H
#define VERSION_H

/* As in "1.2.3": what the file VERSION says. */
const char *version_number(void);

/* "0123456789ab", with "-dirty" behind it where the tree had other files than the commit; "unknown". */
const char *version_commit(void);

/* The line that --version prints: what a report has to name. */
void version_print(const char *program);

#endif
