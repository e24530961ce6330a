/* role: placeholder */
#include "pupil/base.h"
typedef int pupil_role_empty;
