/* apart.h: work that may crash, in a process of its own. */
#ifndef STORE_APART_H
#define STORE_APART_H

#include "pupil/store.h"

/** Run work(arg, out) in a child process; what it puts into `out` is appended to the caller's. Its failure, with its
 *  reason, becomes the caller's; if it dies, or needs some GiB more than is used already, or far too long,
 *  PUPIL_EFORMAT: "path: cannot be read ...". Nothing else that it does is seen here. */
int run_apart(const char *path, int (*work)(void *arg, pupil_buf *out), void *arg, pupil_buf *out);

#endif
