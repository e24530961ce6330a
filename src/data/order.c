/* order.c: the order of an epoch, computed and not stored: any rank finds the sample at any position.
 *
 * Block places are a permutation of the full blocks, the part-filled block at the last place. Places are cut
 * into windows; the samples of a window's places are permuted among themselves. So a reader that has the
 * blocks of the windows up to its own has every sample it can be asked for. */
#include "pupil/data.h"

/* The permutations of one epoch: number 0 of the blocks, 1 + w of the samples of window w. */
static uint64_t permutation(int64_t epoch, int64_t number)
{
    return (uint64_t)epoch << 40 | (uint64_t)number;
}

int64_t pupil_order_blocks(const pupil_order *o)
{
    return (o->samples + o->block - 1) / o->block;
}

int64_t pupil_order_block(const pupil_order *o, int64_t epoch, int64_t k)
{
    PUPIL_REQUIRE(k >= 0 && k < pupil_order_blocks(o));
    int64_t full = o->samples / o->block;
    if (k == full) return k;
    return (int64_t)pupil_permute(o->seed, PUPIL_STREAM_ORDER, permutation(epoch, 0), (uint64_t)full,
                                  (uint64_t)k);
}

int64_t pupil_order_sample(const pupil_order *o, int64_t epoch, int64_t pos)
{
    PUPIL_REQUIRE(pos >= 0 && pos < o->samples);
    int64_t span = o->window * o->block, w = pos / span, n = PUPIL_MIN(span, o->samples - w * span);
    int64_t q = (int64_t)pupil_permute(o->seed, PUPIL_STREAM_ORDER, permutation(epoch, 1 + w), (uint64_t)n,
                                       (uint64_t)(pos - w * span));
    return pupil_order_block(o, epoch, w * o->window + q / o->block) * o->block + q % o->block;
}

int64_t pupil_order_needs(const pupil_order *o, int64_t pos)
{
    PUPIL_REQUIRE(pos >= 0 && pos < o->samples);
    return PUPIL_MIN((pos / (o->window * o->block) + 1) * o->window, pupil_order_blocks(o));
}
