/* ckpt: placeholder */
#include "pupil/base.h"
typedef int pupil_ckpt_empty;
