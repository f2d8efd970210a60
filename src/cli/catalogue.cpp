#include "cli/catalogue.h"

namespace edgecompress {

const PassCatalogue& known_passes() {
  static const PassCatalogue catalogue = PassCatalogue::from_json(Json::parse(kPassCatalogueJson));
  return catalogue;
}

}  // namespace edgecompress
