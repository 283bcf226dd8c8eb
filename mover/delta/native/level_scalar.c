/* The engine in plain C. */
#define DK_LEVEL 0
#define DK_SUFFIX scalar
#include "level.h"
