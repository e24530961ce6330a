/* Any text as settings: refused with at least one line, or complete and read back from what is printed of it.
 */
#include "pupil/conf.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char *text = pupil_alloc(n + 1);
    if (n) memcpy(text, bytes, n);
    pupil_buf errors = {0}, once = {0}, twice = {0};
    pupil_conf *conf = NULL, *again = NULL;
    if (pupil_conf_parse("fuzz", text, NULL, 0, &conf, &errors) < 0) {
        PUPIL_REQUIRE(errors.len > 0);
    } else {
        pupil_conf_print(conf, &once);
        PUPIL_REQUIRE(pupil_conf_parse("fuzz", once.s, NULL, 0, &again, &errors) == 0);
        pupil_conf_print(again, &twice);
        PUPIL_REQUIRE(!strcmp(once.s, twice.s));
    }
    pupil_conf_free(&conf);
    pupil_conf_free(&again);
    pupil_buf_free(&errors);
    pupil_buf_free(&once);
    pupil_buf_free(&twice);
    pupil_free(&text);
    return 0;
}
