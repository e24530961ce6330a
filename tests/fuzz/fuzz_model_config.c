/* Any text as config.json, and behind a line "---" as the preprocessor_config.json beside it: refused, or an
 * architecture that reads back from what is written of it and whose costs are finite. */
#include "folder.h"

#include "pupil/model.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const uint8_t *rest;
    size_t rest_n, first = fuzz_part(bytes, n, &rest, &rest_n);
    pupil_log_set_level(PUPIL_LOG_ERROR);
    fuzz_no_file("preprocessor_config.json");
    if (rest) fuzz_file("preprocessor_config.json", rest, rest_n);
    pupil_arch a, again;
    if (pupil_arch_from_json(fuzz_file("config.json", bytes, first), &a) < 0) return 0;
    PUPIL_REQUIRE(isfinite(pupil_arch_image_flops(&a)) && isfinite(pupil_arch_text_flops(&a, 7)));
    PUPIL_REQUIRE(pupil_arch_family(&a) != NULL);
    pupil_buf once = {0}, twice = {0};
    pupil_arch_to_json(&a, &once);
    fuzz_no_file("preprocessor_config.json");
    PUPIL_REQUIRE(pupil_arch_from_json(fuzz_file("config.json", once.s, once.len), &again) == 0);
    pupil_arch_to_json(&again, &twice);
    PUPIL_REQUIRE(!strcmp(once.s, twice.s));
    pupil_buf_free(&once);
    pupil_buf_free(&twice);
    return 0;
}
