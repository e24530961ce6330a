#include "pupil/base.h"
int main(void) { return 0; }
