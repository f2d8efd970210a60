// The passes as the build wrote them down: no LibTorch is needed to read about them.
#pragma once

#include "recipe/pass_catalogue.h"

namespace edgecompress {

/// Written by tools/write_catalogue.cpp at build time.
extern const char* const kPassCatalogueJson;

const PassCatalogue& known_passes();

}  // namespace edgecompress
