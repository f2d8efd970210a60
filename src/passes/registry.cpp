#include "passes/registry.h"

#include "edgecompress/error.h"
#include "passes/catalogue.h"

namespace edgecompress {

#define PASS(name) PassSpec name##_pass();
#include "passes/passes.def"
#undef PASS

const std::vector<PassSpec>& pass_registry() {
  static const std::vector<PassSpec> passes = {
#define PASS(name) name##_pass(),
#include "passes/passes.def"
#undef PASS
  };
  return passes;
}

const PassSpec& find_pass(const std::string& name) {
  for (const PassSpec& pass : pass_registry()) {
    if (pass.description.name == name) return pass;
  }
  throw Error(ExitCode::kInternal, "no pass is called " + name);
}

PassCatalogue pass_catalogue() {
  std::vector<PassDescription> descriptions;
  for (const PassSpec& pass : pass_registry()) descriptions.push_back(pass.description);
  return PassCatalogue(std::move(descriptions));
}

}  // namespace edgecompress
