/* par: placeholder */
#include "pupil/base.h"
typedef int pupil_par_empty;
