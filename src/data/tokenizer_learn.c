/* tokenizer_learn.c: a vocabulary out of captions by byte-pair merging (Sennrich, Haddow, Birch 2016): the
 * pair that stands together most often becomes a token, again and again. Counts are kept per pair and changed
 * only for words that hold the merged pair. The result depends on the texts alone: ties go to the smaller
 * (left, right) in byte order. Pairs seen once are not merged, so few texts give fewer ids than asked for. */
#include "tokenizer.h"

#include <string.h>

typedef struct {
    int32_t left, right;
    int64_t count;
    int64_t *word, words, cap; /* words that hold it, or held it once */
} pair;

typedef struct {
    int32_t *symbol;
    int n;
    int64_t count;
} word;

typedef struct {
    pupil_tokenizer *t;
    textset texts;
    word *word;
    int64_t cap;
    pair *pair;
    int64_t pairs, pair_cap;
    map64 pair_of; /* both symbols -> 1 + place in pair */
} learner;

static void count_words(learner *l, const char *const *texts, int64_t n)
{
    pupil_buf clean = {0};
    for (int64_t i = 0; i < n; i++) {
        clean.len = 0;
        tokenizer_clean(l->t->cleaning, texts[i], &clean);
        tokenizer_words words;
        tokenizer_words_begin(&words, l->t, clean.s, clean.len);
        const char *s;
        for (size_t len; tokenizer_words_next(&words, &s, &len);) {
            int64_t k = textset_add(&l->texts, s, len);
            PUPIL_GROW(l->word, k, l->cap);
            l->word[k].count++;
        }
        tokenizer_words_end(&words);
    }
    pupil_buf_free(&clean);
    for (int64_t k = 0; k < l->texts.n; k++) {
        word *w = &l->word[k];
        w->n = (int)l->texts.len[k];
        w->symbol = pupil_alloc((size_t)w->n * sizeof *w->symbol);
        for (int i = 0; i < w->n; i++)
            w->symbol[i] = tokenizer_byte((uint8_t)l->texts.text[k][i], i == w->n - 1);
    }
}

static pair *pair_at(learner *l, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
    int64_t at = map64_get(&l->pair_of, key) - 1;
    if (at < 0) {
        PUPIL_GROW(l->pair, l->pairs, l->pair_cap);
        at = l->pairs++;
        l->pair[at] = (pair){.left = left, .right = right};
        map64_set(&l->pair_of, key, at + 1);
    }
    return &l->pair[at];
}

/* Add (sign 1) or take away (-1) the pairs of word k. */
static void count_pairs(learner *l, int64_t k, int sign)
{
    const word *w = &l->word[k];
    for (int i = 0; i + 1 < w->n; i++) {
        pair *p = pair_at(l, w->symbol[i], w->symbol[i + 1]);
        p->count += sign * w->count;
        if (sign < 0 || (p->words && p->word[p->words - 1] == k)) continue;
        PUPIL_GROW(p->word, p->words, p->cap);
        p->word[p->words++] = k;
    }
}

static int compare_tokens(const textset *t, int32_t a, int32_t b)
{
    int c = memcmp(t->text[a], t->text[b], PUPIL_MIN(t->len[a], t->len[b]));
    return c ? c : (t->len[a] > t->len[b]) - (t->len[a] < t->len[b]);
}

static pair *best_pair(const learner *l)
{
    const textset *t = &l->t->token;
    pair *best = NULL;
    for (pair *p = l->pair; p < l->pair + l->pairs; p++) {
        if (p->count < 2 || (best && p->count < best->count)) continue;
        if (best && p->count == best->count) {
            int c = compare_tokens(t, p->left, best->left);
            if (c > 0 || (c == 0 && compare_tokens(t, p->right, best->right) > 0)) continue;
        }
        best = p;
    }
    return best;
}

static void merge_in_word(word *w, const pair *p, int32_t id)
{
    int n = 0;
    for (int i = 0; i < w->n; i++) {
        bool both = i + 1 < w->n && w->symbol[i] == p->left && w->symbol[i + 1] == p->right;
        w->symbol[n++] = both ? id : w->symbol[i];
        i += both;
    }
    w->n = n;
}

static bool holds(const word *w, const pair *p)
{
    for (int i = 0; i + 1 < w->n; i++)
        if (w->symbol[i] == p->left && w->symbol[i + 1] == p->right) return true;
    return false;
}

static void learn_merges(learner *l, int64_t vocab_size)
{
    for (int64_t k = 0; k < l->texts.n; k++) count_pairs(l, k, 1);
    while (pupil_tokenizer_vocab(l->t) < vocab_size) {
        pair *found = best_pair(l);
        if (!found) break;
        pair p = *found;              /* the array may move below */
        found->count = INT64_MIN / 2; /* merged, or its string is a token already: never again */
        found->word = NULL;
        found->words = found->cap = 0;
        int32_t id = tokenizer_add_merge(l->t, p.left, p.right);
        for (int64_t i = 0; i < p.words && id >= 0; i++) {
            if (!holds(&l->word[p.word[i]], &p)) continue;
            count_pairs(l, p.word[i], -1);
            merge_in_word(&l->word[p.word[i]], &p, id);
            count_pairs(l, p.word[i], 1);
        }
        pupil_free(&p.word);
    }
}

int pupil_tokenizer_learn(const char *const *texts, int64_t n, int64_t vocab_size, pupil_tokenizer **ret)
{
    if (vocab_size < TOKENIZER_FIRST_MERGE + 2)
        return pupil_fail(PUPIL_EUSER, "a vocabulary of %lld ids: bytes and specials alone take %d",
                          (long long)vocab_size, TOKENIZER_FIRST_MERGE + 2);
    learner l = {0};
    PUPIL_TRY(tokenizer_new(&l.t));
    count_words(&l, texts, n);
    learn_merges(&l, vocab_size);
    for (int64_t k = 0; k < l.texts.n; k++) pupil_free(&l.word[k].symbol);
    for (int64_t i = 0; i < l.pairs; i++) pupil_free(&l.pair[i].word);
    pupil_free(&l.word);
    pupil_free(&l.pair);
    map64_free(&l.pair_of);
    textset_free(&l.texts);
    *ret = l.t;
    return 0;
}
