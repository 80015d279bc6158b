/*
 * What a command starts ends with it, however it ends.
 *
 * Three processes: the one that was started, which waits and passes signals on; the guardian, in a session of its own, to which
 * whatever loses its parent below it falls; and the one that does the work. When the work ends, or the first process is gone, or
 * killed, the guardian ends all that is left below it and removes the folders of cases. If the guardian is killed, the first
 * process does so; if both are, the next command removes the folders.
 */
#ifndef GUARDIAN_H
#define GUARDIAN_H

/* Returns in the process that does the work, and nowhere else; the first process exits with the code of that one, 128 + n where
 * signal n ended it. */
void guard(void);

#endif
