/* The engine on the processor's baseline. */
#define DK_LEVEL 0
#define DK_SUFFIX scalar
#include "level.h"
