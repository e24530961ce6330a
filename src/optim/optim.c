/* optim: placeholder */
#include "pupil/base.h"
typedef int pupil_optim_empty;
