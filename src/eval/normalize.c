/* normalize.c: the answer normalisation of the official VQA evaluation (GT-Vision-Lab/VQA, vqaEval.py), quirks
 * included: which punctuation goes without a blank depends on the whole answer, and only 32 periods go.
 * Letters outside ASCII are lowered by the C library's Unicode table (C.UTF-8); digits are ASCII. */
#include "normalize.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool has_digit_comma_digit(const char *s)
{
    for (const char *c = strchr(s, ','); c; c = strchr(c + 1, ','))
        if (c > s && is_digit(c[-1]) && is_digit(c[1])) return true;
    return false;
}

/* Is `mark` deleted, rather than replaced by a blank? Judged on the original answer. */
static bool is_deleted(const char *original, char mark, bool digit_comma)
{
    if (digit_comma) return true;
    for (const char *c = strchr(original, mark); c; c = strchr(c + 1, mark))
        if (c[1] == ' ' || (c > original && c[-1] == ' ')) return true;
    return false;
}

void normalize_punctuation(const char *s, pupil_buf *out)
{
    static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
    bool deleted[sizeof marks], digit_comma = has_digit_comma_digit(s);
    for (size_t i = 0; marks[i]; i++) deleted[i] = is_deleted(s, marks[i], digit_comma);
    size_t first = out->len;
    pupil_buf_puts(out, "");
    for (const char *c = s; *c; c++) {
        const char *mark = strchr(marks, *c);
        if (!mark) pupil_buf_add(out, c, 1);
        else if (!deleted[mark - marks]) pupil_buf_add(out, " ", 1);
    }
    int left = 32; /* re.UNICODE lands in sub()'s count */
    char *to = out->s + first;
    for (const char *c = to; *c; c++) {
        if (*c == '.' && !is_digit(c[1]) && left > 0) left--;
        else *to++ = *c;
    }
    *to = 0;
    out->len = (size_t)(to - out->s);
}

/* One code point of UTF-8 at s into *ret; its length. A stray byte counts as itself. */
static int utf8_decode(const unsigned char *s, uint32_t *ret)
{
    int n = s[0] < 0xc2 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 1;
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            *ret = 0xfffd;
            return 1;
        }
        c = c << 6 | (s[i] & 0x3fu);
    }
    *ret = s[0] >= 0x80 && n == 1 ? 0xfffd : c;
    return n;
}

static void add_code_point(pupil_buf *out, uint32_t c)
{
    unsigned char b[4];
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) b[i] = (unsigned char)(0x80 | (c & 0x3f));
    b[0] = (unsigned char)(n == 1 ? c : (0xf00u >> n) | c);
    pupil_buf_add(out, b, (size_t)n);
}

/* What Python's str.split() and strip() take for white space. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static uint32_t lower(uint32_t c)
{
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    static _Thread_local locale_t utf8;
    if (!utf8) utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return utf8 ? (uint32_t)towlower_l((wint_t)c, utf8) : c;
}

/* Contractions the official table completes: ^ is an apostrophe that the answer lacks, ~ one that it has and
 * loses (a slip of the table). Its four capitalised entries never match, since the answer was lowered. */
static const char contractions[] =
    "ain^t aren^t can^t could^ve couldn^t couldn't^ve couldn^t've didn^t doesn^t don^t hadn^t hadn^t've hadn't^ve "
    "hasn^t haven^t he^d he^d've he'd^ve he^s how^d how^ll how^s isn^t it^d it^d've it'd^ve it^ll ma^am mightn^t "
    "mightn^t've mightn't^ve might^ve mustn^t must^ve needn^t not^ve o^clock oughtn^t ^ow's'at 'ow^s'at 'ow's^at "
    "shan^t she^d've she'd^ve should^ve shouldn^t shouldn^t've shouldn't^ve somebody~d somebody^d've somebody'd^ve "
    "somebody^ll somebody^s someone^d someone^d've someone'd^ve someone^ll someone^s something^d something^d've "
    "something'd^ve something^ll that^s there^d there^d've there'd^ve there^re there^s they^d they^d've they'd^ve "
    "they^ll they^re they^ve ^twas wasn^t we^d've we'd^ve we^ve weren^t what^ll what^re what^s what^ve when^s where^d "
    "where^s where^ve who^d who^d've who'd^ve who^ll who^s who^ve why^ll why^re why^s won^t would^ve wouldn^t "
    "wouldn^t've wouldn't^ve y^all y^all'll y'all^ll y^all'd've y'all^d've y'all'd^ve you^d you^d've you'd^ve "
    "you^ll you^re you^ve ";

/* Does the entry (up to its blank) stand for word[0..n)? */
static bool entry_matches(const char *entry, const char *word, size_t n)
{
    size_t i = 0;
    for (; *entry != ' '; entry++) {
        if (*entry == '^') continue;
        if (i >= n || word[i] != (*entry == '~' ? '\'' : *entry)) return false;
        i++;
    }
    return i == n;
}

static void add_contracted(const char *word, size_t n, pupil_buf *out)
{
    for (const char *e = contractions; *e; e = strchr(e, ' ') + 1) {
        if (!entry_matches(e, word, n)) continue;
        for (; *e != ' '; e++)
            if (*e != '~') pupil_buf_add(out, *e == '^' ? "'" : e, 1);
        return;
    }
    pupil_buf_add(out, word, n);
}

static bool word_is(const char *word, size_t n, const char *s) { return strlen(s) == n && memcmp(word, s, n) == 0; }

/* One lowered word: number words become digits, articles go, contractions are completed. */
static void add_word(const char *word, size_t n, pupil_buf *out, size_t first)
{
    static const char *const digits[] = {"zero", "one", "two",   "three", "four", "five",
                                         "six",  "seven", "eight", "nine",  "ten"};
    if (word_is(word, n, "a") || word_is(word, n, "an") || word_is(word, n, "the")) return;
    if (out->len > first) pupil_buf_puts(out, " ");
    if (word_is(word, n, "none")) {
        pupil_buf_puts(out, "0");
        return;
    }
    for (int i = 0; i < PUPIL_COUNT(digits); i++)
        if (word_is(word, n, digits[i])) {
            pupil_buf_printf(out, "%d", i);
            return;
        }
    add_contracted(word, n, out);
}

void normalize_words(const char *s, pupil_buf *out)
{
    pupil_buf word = {0};
    size_t first = out->len;
    pupil_buf_puts(out, "");
    for (const unsigned char *p = (const unsigned char *)s;;) {
        uint32_t c = ' ';
        int n = *p ? utf8_decode(p, &c) : 0;
        if (!is_space(c)) {
            add_code_point(&word, lower(c));
        } else if (word.len) {
            add_word(word.s, word.len, out, first);
            word.len = 0;
        }
        if (!n) break;
        p += n;
    }
    pupil_buf_free(&word);
}

char *normalize_strip(const char *s)
{
    pupil_buf out = {0};
    pupil_buf_puts(&out, "");
    size_t end = 0; /* after the last character that is no white space */
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        uint32_t c;
        int n = utf8_decode(p, &c);
        bool space = is_space(c);
        if (!space || end) pupil_buf_add(&out, *p == '\n' || *p == '\t' ? (const void *)" " : p, (size_t)n);
        if (!space) end = out.len;
        p += n;
    }
    out.s[end] = 0;
    return out.s;
}

char *pupil_vqa_normalize(const char *answer)
{
    pupil_buf marks = {0}, words = {0};
    normalize_punctuation(answer, &marks);
    normalize_words(marks.s, &words);
    pupil_buf_free(&marks);
    return words.s;
}

char *pupil_textvqa_normalize(const char *answer)
{
    pupil_buf apart = {0};
    pupil_buf_puts(&apart, "");
    for (const char *c = answer; *c; c++) {
        if (*c == ',' || *c == '?') continue;
        if (*c == '\'' && (c[1] == 's' || c[1] == 'S')) pupil_buf_puts(&apart, " ");
        pupil_buf_add(&apart, c, 1);
    }
    char *bare = normalize_strip(apart.s), *out = pupil_vqa_normalize(bare);
    pupil_free(&bare);
    pupil_buf_free(&apart);
    return out;
}
