#include "util/passing_folder.h"

#include <stdlib.h>

#include <cerrno>
#include <system_error>

#include "util/file.h"

namespace edgecompress {

PassingFolder::PassingFolder(const std::filesystem::path& parent, const std::string& prefix) {
  std::string name = (parent / (prefix + "XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr) throw write_error(parent, errno);
  path_ = name;
}

PassingFolder::~PassingFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace edgecompress
