// liburing, for CSpoolRing alone: Swift cannot see both it and swift-system, which has the kernel's io_uring.h. The two
// declare the same types differently.
#pragma once
#include <liburing.h>
