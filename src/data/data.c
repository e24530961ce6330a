/* data: placeholder */
#include "pupil/base.h"
typedef int pupil_data_empty;
