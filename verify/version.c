/* See version.h. */
#include "version.h"

const char *version_number(void)
{
    return "0.1.0";
}

const char *version_commit(void)
{
#ifdef COMMIT
    return COMMIT;
#else
    return "";
#endif
}
