/* tar_index.h (private to data): what a tar holds and where, so that a sample is one pread() away.
 *
 * The index of NAME.tar is NAME.tar.idx beside it, or, where that folder cannot be written, a file in
 * index_dir whose name ends in a hash of the tar's absolute path, or, where neither can be written, memory.
 * Several processes may make it at once: it is published whole and all make the same bytes. It is made again
 * when the tar's size or time differ from what it says, or when anything in it does not hold.
 *
 * The file, all numbers as the machine stores them:
 *    0  "PUPILTI2"
 *    8  u32 CRC-32C of all that follows it
 *   12  u32 0x01020304 (an index made on a machine of the other byte order is made again)
 *   16  i64 bytes of the tar,  i64 its mtime in ns,  i64 samples,  i64 bytes of text
 *   48  24 x i64 broken samples by reason (faults.h)
 *  240  samples x { i64 place of the picture in the tar, u32 its bytes, u32 captions, i64 place in the text,
 *       i64 class or -1 }
 *    .  text: the first few broken samples in one line, NUL; then, sample by sample without a gap, key NUL
 *       and each caption NUL
 * A reader refuses another length than these add up to, pictures outside the tar, samples without key, and
 * samples with neither caption nor class. */
#ifndef PUPIL_DATA_TAR_INDEX_H
#define PUPIL_DATA_TAR_INDEX_H

#include "faults.h"

#define TAR_MEMBER_MAX ((int64_t)256 << 20)

typedef struct {
    int64_t at;
    uint32_t bytes, captions;
    int64_t text, cls;
} tar_sample;

typedef struct {
    char magic[8];
    uint32_t crc, order;
    int64_t tar_bytes, tar_mtime, samples, text_bytes;
    int64_t broken[FAULT_SLOTS];
} tar_index_head;

typedef struct {
    void *bytes; /* the whole file, mapped or owned */
    size_t n;
    bool mapped;
    const tar_index_head *head; /* these point into it */
    const tar_sample *sample;
    const char *text; /* begins with the broken samples' line */
} tar_index;

/* Load the index of a tar, or make and save it. PUPIL_ENOTFOUND | PUPIL_EIO | PUPIL_EFORMAT (compressed).
 * What is no tar at all is one that is damaged from its first byte on, like a copy that was stopped at once: counted. */
int tar_index_open(const char *tar, const char *index_dir, tar_index *ret);
/* As tar_index_open() without its result. *ret_made: there was none yet. */
int tar_index_ensure(const char *tar, const char *index_dir, bool *ret_made);
void tar_index_free(tar_index *x);

/* View n bytes (8-aligned, borrowed) as an index; false where anything in them does not hold. */
bool tar_index_view(const void *bytes, size_t n, tar_index *ret);
/* Read a whole tar, open as fd with `bytes` and `mtime` as fstat() says, into the bytes of its index. */
int tar_index_build(const char *tar, int fd, int64_t bytes, int64_t mtime, pupil_buf *out);
/* st_size and st_mtim in ns of an open file. */
int tar_stat(const char *tar, int fd, int64_t *ret_bytes, int64_t *ret_mtime);

#endif
