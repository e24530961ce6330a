/* stream.c: the few words teachers and students exchange in split mode. Students are world ranks 0 .. students-1;
 * their rank 0 speaks for them. What is published is believed from the journal alone; messages only say
 * that looking again is worth while. */
#include "job.h"

void stream_listen(stream *s, job *j)
{
    int from;
    int64_t word[PUPIL_WORDS];
    bool news = false;
    while (pupil_poll(s->world, TAG_TO_STUDENTS, &from, word)) {
        if (word[0] == SAY_PUBLISHED) news = true;
        if (word[0] == SAY_DONE) s->done++;
        if (word[0] == SAY_SIGNAL) s->signalled = true;
    }
    if (news || s->done == s->teachers) {
        s->news = pupil_now();
        if (teachers_refresh(j) < 0) pupil_warn("%s", pupil_reason());
    }
}

int stream_tell(stream *s, int64_t what, int64_t arg)
{
    for (int t = 0; t < s->teachers; t++)
        PUPIL_TRY(pupil_post(s->world, s->students + t, TAG_TO_TEACHERS, (int64_t[PUPIL_WORDS]){what, arg}));
    return 0;
}
