/* conf: placeholder */
#include "pupil/base.h"
typedef int pupil_conf_empty;
