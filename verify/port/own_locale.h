/* The C locale for this thread, whatever a port sets for the process: numbers are read and printed with a point. */
#ifndef OWN_LOCALE_H
#define OWN_LOCALE_H

void own_locale(void);

#endif
