#ifndef PUPIL_PAR_H
#define PUPIL_PAR_H
#include "pupil/base.h"
#endif
