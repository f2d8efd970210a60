// What can be known of the passes without running one.
#pragma once

#include "recipe/pass_catalogue.h"

namespace edgecompress {

PassCatalogue pass_catalogue();

}  // namespace edgecompress
