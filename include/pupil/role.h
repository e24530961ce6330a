#ifndef PUPIL_ROLE_H
#define PUPIL_ROLE_H
#include "pupil/base.h"
#endif
