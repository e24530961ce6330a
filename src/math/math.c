/* math: placeholder */
#include "pupil/base.h"
typedef int pupil_math_empty;
