#ifndef PUPIL_MODEL_H
#define PUPIL_MODEL_H
#include "pupil/base.h"
#endif
