/* study: placeholder */
#include "pupil/base.h"
typedef int pupil_study_empty;
