/* eval: placeholder */
#include "pupil/base.h"
typedef int pupil_eval_empty;
