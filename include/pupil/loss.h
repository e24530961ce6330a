#ifndef PUPIL_LOSS_H
#define PUPIL_LOSS_H
#include "pupil/base.h"
#endif
