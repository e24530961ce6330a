/* store: placeholder */
#include "pupil/base.h"
typedef int pupil_store_empty;
