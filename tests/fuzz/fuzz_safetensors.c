/* Any bytes as a weights file: refused, or every tensor of it is read in bounds. */
#include "folder.h"
#include "safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void read_all(const uint8_t *bytes, size_t n)
{
    st_entries list = {0};
    const size_t header = n >= 8 ? bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 : 0;
    if (n >= 8 && header <= n - 8 &&
        st_header_parse("fuzz", (const char *)bytes + 8, header, bytes + 8 + header, n - 8 - header, &list) ==
            0) {
        uint64_t sum = 0;
        for (int64_t i = 0; i < list.n; i++) {
            const pupil_st_tensor *t = &list.e[i].t;
            PUPIL_REQUIRE(list.e[i].begin <= list.e[i].end && list.e[i].end <= n - 8 - header &&
                          t->count >= 0);
            sum += list.e[i].end - list.e[i].begin;
            float *out = pupil_alloc(((size_t)t->count + 1) * sizeof *out);
            if (t->type != PUPIL_ST_OTHER) pupil_st_unpack(t, 0, t->count, out);
            pupil_free(&out);
        }
        PUPIL_REQUIRE(sum == n - 8 - header);
    }
    for (int64_t i = 0; i < list.n; i++) pupil_free_((void *)(uintptr_t)list.e[i].t.name);
    pupil_free(&list.e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char *const name[] = {"logit_scale", "text_projection", "visual.proj", "a"};
    static const int64_t shape[2] = {4, 4};
    float out[16];
    pupil_safetensors *s = NULL;
    if (pupil_safetensors_open(fuzz_file("x.safetensors", bytes, n), &s) == 0)
        for (int i = 0; i < PUPIL_COUNT(name); i++)
            for (int ndim = 0; ndim < 3; ndim++)
                if (pupil_safetensors_has(s, name[i])) pupil_safetensors_read(s, name[i], ndim, shape, out);
    pupil_safetensors_close(&s);
    read_all(bytes, n);
    return 0;
}
