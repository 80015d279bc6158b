/* For each quirk a case that sees it. */
#ifndef WITNESS_H
#define WITNESS_H

/* The id of a case in which a port with the quirk fails under the default arithmetic; NULL: none is listed. */
const char *witness_of(int quirk);

#endif
