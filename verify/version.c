/* See version.h. Compiled twice: the programs' own object knows the commit; that of the library doesn't, so that a commit
 * relinks no test. */
#include "version.h"

#include "dsv3.h"

#include <stdio.h>

#ifndef COMMIT
#define COMMIT "unknown"
#endif

const char *version_number(void)
{
    return VERSION;
}

const char *version_commit(void)
{
    return COMMIT;
}

void version_print(const char *program)
{
    printf("%s %s, commit %s, abi %u, generator 1, formats 1, results 2, gcc %s\n", program, VERSION, COMMIT, DSV3_ABI,
           __VERSION__);
}
