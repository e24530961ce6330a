/* study_report.c: the files that tell of a study, from what its directory holds. */
#include "study.h"

int pupil_study_report(const char *dir)
{
    study_data s;
    int code = study_read(&s, dir);
    if (code == 0) code = study_write_csv(&s);
    if (code == 0) code = study_write_tex(&s);
    study_free(&s);
    return code;
}
