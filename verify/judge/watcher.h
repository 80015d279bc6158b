/* Somebody may be waiting for a search that takes long. */
#ifndef WATCHER_H
#define WATCHER_H

/* Is told before each step: so many are done, of so many at most. */
typedef struct {
    void (*tell)(void *context, int done, int most);
    void *context;
} watcher;

#endif
