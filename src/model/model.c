/* model: placeholder */
#include "pupil/base.h"
typedef int pupil_model_empty;
