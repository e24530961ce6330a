/* table.c: open addressing with linear probing, at most half full. */
#include "table.h"

#include <string.h>

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static struct map64_slot *map64_slot_of(const map64 *m, uint64_t key)
{
    uint64_t mask = (uint64_t)m->slots - 1, i = mix(key) & mask;
    while (m->slot[i].value && m->slot[i].key != key) i = (i + 1) & mask;
    return &m->slot[i];
}

int64_t map64_get(const map64 *m, uint64_t key)
{
    return m->slots ? map64_slot_of(m, key)->value : 0;
}

void map64_set(map64 *m, uint64_t key, int64_t value)
{
    PUPIL_REQUIRE(value > 0);
    if (2 * (m->n + 1) > m->slots) {
        map64 bigger = {.slots = m->slots ? 2 * m->slots : 64, .n = m->n};
        bigger.slot = pupil_alloc((size_t)bigger.slots * sizeof *bigger.slot);
        for (int64_t i = 0; i < m->slots; i++)
            if (m->slot[i].value) *map64_slot_of(&bigger, m->slot[i].key) = m->slot[i];
        pupil_free(&m->slot);
        *m = bigger;
    }
    struct map64_slot *s = map64_slot_of(m, key);
    m->n += s->value == 0;
    *s = (struct map64_slot){key, value};
}

void map64_free(map64 *m)
{
    pupil_free(&m->slot);
    *m = (map64){0};
}

/* Mixed, as the low bits choose the slot. */
static uint64_t hash(const char *s, size_t len) { return mix(pupil_fnv1a(s, len)); }

static int64_t *textset_slot_of(const textset *t, const char *s, size_t len)
{
    uint64_t mask = (uint64_t)t->slots - 1, i = hash(s, len) & mask;
    for (; t->slot[i]; i = (i + 1) & mask) {
        int64_t k = t->slot[i] - 1;
        if (t->len[k] == len && memcmp(t->text[k], s, len) == 0) break;
    }
    return &t->slot[i];
}

int64_t textset_find(const textset *t, const char *s, size_t len)
{
    return t->slots ? *textset_slot_of(t, s, len) - 1 : -1;
}

static char *keep(textset *t, const char *s, size_t len)
{
    if (t->page_size - t->page_used < len + 1) {
        t->page_size = PUPIL_MAX((size_t)1 << 16, len + 1);
        t->page_used = 0;
        PUPIL_GROW(t->page, t->pages, t->page_cap);
        t->page[t->pages++] = pupil_alloc(t->page_size);
    }
    char *to = t->page[t->pages - 1] + t->page_used;
    memcpy(to, s, len);
    to[len] = 0;
    t->page_used += len + 1;
    return to;
}

int64_t textset_add(textset *t, const char *s, size_t len)
{
    if (2 * (t->n + 1) > t->slots) {
        pupil_free(&t->slot);
        t->slots = t->slots ? 2 * t->slots : 64;
        t->slot = pupil_alloc((size_t)t->slots * sizeof *t->slot);
        for (int64_t k = 0; k < t->n; k++) *textset_slot_of(t, t->text[k], t->len[k]) = k + 1;
    }
    int64_t *slot = textset_slot_of(t, s, len);
    if (*slot) return *slot - 1;
    PUPIL_GROW(t->text, t->n, t->cap);
    PUPIL_GROW(t->len, t->n, t->len_cap);
    t->text[t->n] = keep(t, s, len);
    t->len[t->n] = len;
    *slot = ++t->n;
    return t->n - 1;
}

void textset_free(textset *t)
{
    for (int64_t i = 0; i < t->pages; i++) pupil_free(&t->page[i]);
    pupil_free(&t->page);
    pupil_free(&t->text);
    pupil_free(&t->len);
    pupil_free(&t->slot);
    *t = (textset){0};
}
