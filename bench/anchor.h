/*
 * What this machine can do in this minute, on so many pinned threads: the limits beside which times are set. Fused
 * multiply-adds of binary32 and, where there is an instruction for it, of BF16 pairs; bytes read from memory.
 */
#ifndef ANCHOR_H
#define ANCHOR_H

typedef struct {
    double f32, bf16; /* operations a second, two for a multiply-add; bf16 is f32's where there is no instruction */
    double memory;    /* bytes a second */
} anchor;

/* Memory and threads for it; false: there are none, and one sentence was printed. */
int anchors_open(int threads);
void anchors_close(void);

/* About 30 ms. */
anchor measure_anchor(void);

/* Between two of them. */
anchor anchor_between(anchor a, anchor b);

#endif
