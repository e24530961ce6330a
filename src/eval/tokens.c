/* tokens.c: what holds the token features of many pictures or texts. */
#include "pupil/eval.h"

void pupil_tokens_free(pupil_tokens *t)
{
    pupil_free(&t->f16);
    pupil_free(&t->first);
}
