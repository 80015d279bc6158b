/* Threads that a call of a port leaves behind: what they still do shows soon. */
#ifndef SETTLE_H
#define SETTLE_H

/* Of this process; 0 where the system doesn't say. */
int threads_now(void);

/* Waits a little for those that a call has started since there were so many. A pool of threads stays, and costs this once. */
void threads_settle(int before);

#endif
