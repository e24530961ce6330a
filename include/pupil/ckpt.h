#ifndef PUPIL_CKPT_H
#define PUPIL_CKPT_H
#include "pupil/base.h"
#endif
