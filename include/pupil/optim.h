#ifndef PUPIL_OPTIM_H
#define PUPIL_OPTIM_H
#include "pupil/base.h"
#endif
