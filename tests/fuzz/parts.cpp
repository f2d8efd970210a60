#include "fuzz/parts.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zip.h>

#include <stdexcept>

namespace edgecompress::fuzz {
namespace {

constexpr std::string_view kMark = "@@";

/// The mark that begins a line at or after `from`.
std::size_t find_mark(std::string_view text, std::size_t from) {
  for (auto at = text.find(kMark, from); at != std::string_view::npos;
       at = text.find(kMark, at + 1)) {
    if (at == 0 || text[at - 1] == '\n') return at;
  }
  return text.size();
}

/// What a closed archive left in memory.
std::string content_of(zip_source_t* archive) {
  std::string bytes;
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_source_stat(archive, &stat) == 0 && zip_source_open(archive) == 0) {
    bytes.resize(stat.size);
    if (zip_source_read(archive, bytes.data(), stat.size) < 0) bytes.clear();
    zip_source_close(archive);
  }
  return bytes;
}

void add(zip_t* zip, const Part& part) {
  zip_source_t* source = zip_source_buffer(zip, part.bytes.data(), part.bytes.size(), 0);
  const auto index = zip_file_add(zip, part.name.c_str(), source, 0);
  if (index < 0) {
    zip_source_free(source);  // a name that is there already
    return;
  }
  zip_set_file_compression(zip, static_cast<zip_uint64_t>(index),
                           part.is_deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 1);
}

}  // namespace

std::vector<Part> split_parts(std::string_view input) {
  std::vector<Part> parts;
  for (auto begin = find_mark(input, 0); begin < input.size();) {
    const auto name_end = std::min(input.find('\n', begin), input.size());
    std::string_view name = input.substr(begin + kMark.size(), name_end - begin - kMark.size());
    const auto next = find_mark(input, std::min(name_end + 1, input.size()));
    Part part;
    part.is_deflated = !name.empty() && name.front() == 'z';
    if (part.is_deflated) name.remove_prefix(1);
    if (!name.empty() && name.front() == ' ') name.remove_prefix(1);
    part.name = name;
    // The line break before the next mark is the mark's.
    const auto first = std::min(name_end + 1, input.size());
    const auto last = next < input.size() && next > first ? next - 1 : next;
    part.bytes = input.substr(first, last - first);
    parts.push_back(std::move(part));
    begin = next;
  }
  return parts;
}

std::string_view part(const std::vector<Part>& parts, std::string_view name) {
  for (const Part& part : parts) {
    if (part.name == name) return part.bytes;
  }
  return {};
}

std::string pack(const std::vector<Part>& parts) {
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, nullptr);
  if (target == nullptr) throw std::runtime_error("no memory for an archive");
  zip_source_keep(target);
  zip_t* zip = zip_open_from_source(target, ZIP_TRUNCATE, nullptr);
  if (zip == nullptr) throw std::runtime_error("no archive in memory");
  for (const Part& part : parts) add(zip, part);
  std::string bytes;
  if (zip_close(zip) == 0) {
    bytes = content_of(target);
  } else {
    zip_discard(zip);
  }
  zip_source_free(target);
  return bytes;
}

std::string memory_file(std::string_view bytes) {
  static const int file = ::memfd_create("input", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, 0) != 0 ||
      ::pwrite(file, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("no file in memory");
  }
  return "/proc/self/fd/" + std::to_string(file);
}

}  // namespace edgecompress::fuzz
