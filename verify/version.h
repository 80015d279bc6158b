/* Which verify this is. */
#ifndef VERSION_H
#define VERSION_H

const char *version_number(void); /* "0.1.0" */
const char *version_commit(void); /* of the source; "": not known */

#endif
