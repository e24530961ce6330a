/* loss: placeholder */
#include "pupil/base.h"
typedef int pupil_loss_empty;
