/* See journal.h. */
#include "journal.h"

#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char magic[] = "dsv3 journal 1\n";

/* ---- bytes as text: two hexadecimal digits each; a run of zeros as its length in brackets ---- */

static void print_bytes(FILE *f, const unsigned char *data, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        size_t zeros = 0;
        while (i + zeros < bytes && !data[i + zeros]) zeros++;
        if (zeros > 1)
            fprintf(f, "(%zu)", zeros);
        else
            fprintf(f, "%02x", data[i]);
        i += zeros > 1 ? zeros : 1;
    }
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "(123)" at *at, at most `most`; 0: it isn't. */
static size_t read_zeros(const char **at, const char *end, size_t most)
{
    size_t n = 0;
    const char *s = *at + 1;
    for (; s < end && digit_of(*s) >= 0 && digit_of(*s) < 10 && n <= most; s++) n = 10 * n + (size_t)digit_of(*s);
    if (s >= end || *s != ')' || n > most) return 0;
    *at = s + 1;
    return n;
}

/* Exactly `bytes` of them, from [at, end). */
static bool read_bytes(const char *at, const char *end, unsigned char *data, size_t bytes)
{
    size_t n = 0;
    while (at < end) {
        size_t const zeros = *at == '(' ? read_zeros(&at, end, bytes - n) : 0;
        if (zeros) {
            memset(data + n, 0, zeros);
            n += zeros;
            continue;
        }
        if (n == bytes || end - at < 2 || digit_of(at[0]) < 0 || digit_of(at[1]) < 0) return false;
        data[n++] = (unsigned char)(digit_of(at[0]) << 4 | digit_of(at[1]));
        at += 2;
    }
    return n == bytes;
}

/* ---- records ---- */

static void check_of(const journal *j, int64_t index, const void *data, size_t bytes, char check[FINGERPRINT_TEXT])
{
    fingerprint *const f = fingerprint_open();
    fingerprint_add(f, "head", j->check, strlen(j->check));
    fingerprint_add(f, "index", &index, sizeof index);
    fingerprint_add(f, "data", data, bytes);
    fingerprint_close(f, check);
}

/* "INDEX CHECK BYTES" */
static bool read_record(const journal *j, const char *at, const char *end, int64_t *index, void *data, size_t bytes)
{
    char check[FINGERPRINT_TEXT];
    int64_t n = 0;
    const char *s = at;
    for (; s < end && digit_of(*s) >= 0 && digit_of(*s) < 10 && s < at + 10; s++) n = 10 * n + digit_of(*s);
    bool const framed = s > at && end - s > FINGERPRINT_TEXT && s[0] == ' ' && s[FINGERPRINT_TEXT] == ' ';
    if (!framed || !read_bytes(s + FINGERPRINT_TEXT + 1, end, data, bytes)) return false;
    check_of(j, n, data, bytes, check);
    *index = n;
    return !memcmp(s + 1, check, FINGERPRINT_TEXT - 1);
}

journal_state journal_next(journal *j, int64_t *index, void *data, size_t bytes, complaint *why)
{
    if (j->at == j->length) return JOURNAL_END;
    const char *const at = j->text + j->at, *const end = memchr(at, '\n', j->length - j->at);
    if (read_record(j, at, end, index, data, bytes)) {
        j->at += (size_t)(end - at) + 1;
        j->line++;
        return JOURNAL_RECORD;
    }
    refuse_file(&(about_file){j->path, why}, "line %lld is damaged: name another file, or remove it to judge all anew",
                (long long)j->line);
    return JOURNAL_DAMAGED;
}

/* The whole of it, or errno. */
static bool write_whole(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t const n = write(fd, text, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        text += n;
        length -= (size_t)n;
    }
    return true;
}

static bool refuse_write(const journal *j, complaint *why)
{
    return refuse(why, "cannot write %s: %s", j->path, strerror(errno));
}

bool journal_add(journal *j, int64_t index, const void *data, size_t bytes, complaint *why)
{
    char *line = NULL, check[FINGERPRINT_TEXT];
    size_t length = 0;
    check_of(j, index, data, bytes, check);
    FILE *const f = open_memstream(&line, &length);
    if (!f) return refuse_write(j, why);
    fprintf(f, "%lld %s ", (long long)index, check);
    print_bytes(f, data, bytes);
    fputc('\n', f);
    bool const good = !output_end(f) && write_whole(j->fd, line, length);
    free(line);
    return good || refuse_write(j, why);
}

/* ---- opening ---- */

/* Waits a little: of a run that was killed the last process may be ending. */
static bool lock(const journal *j, complaint *why)
{
    enum { TRIES = 300 };
    struct timespec const pause = {0, 10000000};
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    for (int i = 0; i < TRIES; i++) {
        if (!fcntl(j->fd, F_SETLK, &all)) return true;
        if (errno != EACCES && errno != EAGAIN) return refuse(why, "cannot lock %s: %s", j->path, strerror(errno));
        nanosleep(&pause, NULL);
    }
    return refuse_file(&(about_file){j->path, why}, "another run is writing it: wait for that or name another file");
}

static bool read_file(journal *j, complaint *why)
{
    struct stat st;
    if (fstat(j->fd, &st)) return refuse(why, "cannot read %s: %s", j->path, strerror(errno));
    j->text = malloc((size_t)st.st_size + 1);
    if (!j->text) return refuse(why, "no memory for %s", j->path);
    for (ssize_t n = 1; n > 0 && j->length<(size_t)st.st_size; j->length += n> 0 ? (size_t)n : 0)
        n = pread(j->fd, j->text + j->length, (size_t)st.st_size - j->length, (off_t)j->length);
    return j->length == (size_t)st.st_size || refuse(why, "cannot read %s: %s", j->path, strerror(errno));
}

/* What a torn last line leaves goes. */
static bool drop_torn(journal *j, complaint *why)
{
    const char *const last = memrchr(j->text, '\n', j->length);
    size_t const whole = last ? (size_t)(last - j->text) + 1 : 0;
    j->torn = whole < j->length;
    j->length = whole;
    return !j->torn || !ftruncate(j->fd, (off_t)whole) || refuse_write(j, why);
}

static char *head_text(const journal_line *head, int lines, size_t *length)
{
    char *text = NULL;
    FILE *const f = open_memstream(&text, length);
    if (!f) return NULL;
    fputs(magic, f);
    for (int i = 0; i < lines; i++) fprintf(f, "%s\n", head[i].text);
    return output_end(f) ? (free(text), NULL) : text;
}

/* The first line at the head that is another one. */
static bool refuse_head(const journal *j, const journal_line *head, int lines, complaint *why)
{
    about_file const to = {j->path, why};
    const char *at = j->text + sizeof magic - 1;
    if (j->length < sizeof magic - 1 || memcmp(j->text, magic, sizeof magic - 1) != 0)
        return refuse_file(&to, "is no journal of verify run; it is left as it is: name another file");
    for (int i = 0; i < lines; i++) {
        size_t const left = j->length - (size_t)(at - j->text), n = strlen(head[i].text);
        if (left <= n || memcmp(at, head[i].text, n) != 0 || at[n] != '\n')
            return refuse_file(&to, "is the journal of another run: %s; name another file, or remove it",
                               head[i].differs);
        at += n + 1;
    }
    return true;
}

/* The head is there, or a part of it at most, and is written now. */
static bool take_head(journal *j, const journal_line *head, int lines, complaint *why)
{
    size_t length = 0;
    char *const text = head_text(head, lines, &length);
    if (!text) return refuse(why, "no memory for %s", j->path);
    bool const begun = j->length < length && !memcmp(j->text, text, j->length);
    bool good = begun || refuse_head(j, head, lines, why);
    if (good && begun) good = (!ftruncate(j->fd, 0) && write_whole(j->fd, text, length)) || refuse_write(j, why);
    fingerprint *const f = fingerprint_open();
    fingerprint_add(f, "head", text, length);
    fingerprint_close(f, j->check);
    free(text);
    if (begun) j->length = 0;
    j->at = begun ? 0 : length;
    j->line = lines + 2;
    return good;
}

static bool open_regular(journal *j, complaint *why)
{
    struct stat st;
    about_file const to = {j->path, why};
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (j->fd < 0 && errno == ELOOP) return refuse_file(&to, "is a symbolic link: name a file");
    if (j->fd < 0) return refuse_file(&to, "cannot be opened: %s", strerror(errno));
    if (!fstat(j->fd, &st) && S_ISREG(st.st_mode)) return true;
    return refuse_file(&to, "is no regular file: name another");
}

bool journal_open(journal *j, const char *path, const journal_line *head, int lines, complaint *why)
{
    *j = (journal){.fd = -1};
    if (strlen(path) >= sizeof j->path) return refuse_file(&(about_file){path, why}, "is too long a name");
    snprintf(j->path, sizeof j->path, "%s", path);
    bool const good = open_regular(j, why) && lock(j, why) && read_file(j, why) && take_head(j, head, lines, why) &&
                      drop_torn(j, why);
    if (!good) journal_close(j);
    return good;
}

void journal_close(journal *j)
{
    if (j->fd >= 0) close(j->fd);
    free(j->text);
    *j = (journal){.fd = -1};
}
