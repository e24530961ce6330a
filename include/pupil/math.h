#ifndef PUPIL_MATH_H
#define PUPIL_MATH_H
#include "pupil/base.h"
#endif
