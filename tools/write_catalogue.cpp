// Build tool: writes what can be known of the passes as a C++ source, so that the binary can list
// them, check recipes and print the schema without loading LibTorch.
#include <cstdio>
#include <exception>
#include <string>

#include "passes/catalogue.h"
#include "util/file.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: edgecompress_catalogue OUTPUT.cpp\n");
    return 2;
  }
  try {
    const std::string json = edgecompress::pass_catalogue().to_json().dump(1);
    edgecompress::write_file_atomic(argv[1],
                                    "// Written by edgecompress_catalogue: do not edit.\n"
                                    "#include \"cli/catalogue.h\"\n\n"
                                    "namespace edgecompress {\n\n"
                                    "const char* const kPassCatalogueJson = R\"catalogue(" +
                                        json + ")catalogue\";\n\n}  // namespace edgecompress\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "edgecompress_catalogue: %s\n", error.what());
    return 1;
  }
  return 0;
}
