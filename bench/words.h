/* Words that options of several commands take; NULL ends each list. */
#ifndef WORDS_H
#define WORDS_H

extern const char *const text_or_jsonl[];  /* --format of a study */
extern const char *const built_backends[]; /* --backend of a build that is made of a revision */

#endif
