/* late HOW: rank 2 of 4 stays away for longer than anyone waits (2 s); late.sh looks at how the others end.
 *   world: from an agreement of all   split: from a sum in its own half, the other half being busy elsewhere
 *   comm: from the split itself       idle: a rank polls for a message that never comes
 *   die: it is killed */
#include "pupil/par.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static int stay_away(void)
{
    pupil_par_phase("digging a hole");
    sleep(60);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2 || pupil_par_start(&argc, &argv, 2) < 0) return 3;
    pupil_comm *world = pupil_par_world(), *half = NULL;
    int me = pupil_comm_rank(world), r = pupil_barrier(world);
    const char *how = argv[1];
    bool late = me == 2;
    pupil_par_phase("working");
    if (!strcmp(how, "world")) r = late ? stay_away() : pupil_agree(world, r);
    if (!strcmp(how, "comm")) r = late ? stay_away() : pupil_comm_split(world, 0, &half);
    if (!strcmp(how, "split")) {
        r = pupil_comm_split(world, me / 2, &half);
        if (me < 2) sleep(60); /* these two wait for nobody, and nobody for them */
        for (int i = 0; i < 3 && r == 0 && !late; i++) r = pupil_barrier(half);
        if (late) r = stay_away();
    }
    if (!strcmp(how, "idle")) {
        int from;
        int64_t word[PUPIL_WORDS];
        double since = pupil_now();
        if (late) r = stay_away();
        while (!pupil_poll(world, 1, &from, word)) pupil_idle(since, "news of rank 2");
    }
    if (!strcmp(how, "die")) {
        if (late) kill(getpid(), SIGKILL);
        r = pupil_barrier(world);
    }
    fprintf(stderr, "rank %d went on\n", me);
    pupil_par_end();
    return r < 0 ? 1 : 0;
}
