/* Any bytes as the index of two shards, or as one of the shards behind an index: refused, or all tensors that
 * the index names are there. */
#include "folder.h"

#include "pupil/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char *const tensors[] = {"a", "b", "c"};

static void put_shard(const char *name, const char *header)
{
    pupil_buf b = {0};
    uint64_t n = strlen(header);
    pupil_buf_add(&b, &n, 8);
    pupil_buf_puts(&b, header);
    pupil_buf_add(&b, "\0\0\200\077", 4); /* 1 */
    fuzz_file(name, b.s, b.len);
    pupil_buf_free(&b);
}

static void open_all(const char *index)
{
    pupil_safetensors *s = NULL;
    float out;
    if (pupil_safetensors_open(index, &s) < 0) return;
    for (int i = 0; i < PUPIL_COUNT(tensors); i++)
        if (pupil_safetensors_has(s, tensors[i])) pupil_safetensors_read(s, tensors[i], 0, NULL, &out);
    pupil_safetensors_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char header_a[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
                      header_b[] = "{\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
                      index[] = "{\"weight_map\":{\"a\":\"1\",\"b\":\"3\"}}";
    put_shard("1", header_a);
    put_shard("2", header_b);
    open_all(fuzz_file("x.index.json", bytes, n));
    fuzz_file("3", bytes, n);
    open_all(fuzz_file("x.index.json", index, sizeof index - 1));
    return 0;
}
