#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "edgecompress/error.h"

namespace edgecompress {

using Json = nlohmann::json;

namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLargestHeader = 100'000'000;  // as in the reference implementation
constexpr std::size_t kMostDimensions = 64;            // of a LibTorch tensor
constexpr const char* kMetadata = "__metadata__";

constexpr std::array<std::pair<const char*, at::ScalarType>, 10> kDtypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
}};

std::string name_of(at::ScalarType type) {
  for (const auto& [name, scalar_type] : kDtypes) {
    if (scalar_type == type) return name;
  }
  throw Error(ExitCode::kInternal,
              fmt::format("safetensors has no name for the type {}", c10::toString(type)));
}

std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (std::size_t i = 0; i < kLengthBytes; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

std::uint64_t from_little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

/// Reads one file and says what is wrong with it, and where.
class Reader {
 public:
  Reader(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  Safetensors read() {
    const Json header = read_header();
    Safetensors content;
    for (const auto& [name, entry] : header.items()) {
      if (name == kMetadata) {
        read_metadata(entry, content);
      } else {
        content.tensors.emplace(name, read_tensor(name, entry));
      }
    }
    check_ranges();
    return content;
  }

 private:
  struct Range {
    std::uint64_t begin, end;
    std::string name;
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ExitCode::kData, where_ + ": not a valid safetensors file: " + what,
                "the file is damaged or of another format; write it again");
  }

  Json read_header() {
    if (bytes_.size() < kLengthBytes) {
      fail(fmt::format("{} bytes, but the header's length alone takes 8", bytes_.size()));
    }
    const std::uint64_t length = from_little_endian(bytes_);
    const std::uint64_t rest = bytes_.size() - kLengthBytes;
    if (length > kLargestHeader || length > rest) {
      fail(fmt::format("the header is said to take {} bytes, the file has {}", length, rest));
    }
    const std::string_view text = bytes_.substr(kLengthBytes, length);
    data_ = bytes_.substr(kLengthBytes + length);
    if (text.empty() || text.front() != '{') fail("the header does not start with '{'");
    Json header = parse(text);
    if (!header.is_object()) fail("the header is no JSON object");
    return header;
  }

  /// JSON whose keys are checked for repetition, and whose depth is that of a header.
  Json parse(std::string_view text) const {
    std::vector<std::set<std::string>> keys;
    const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
      if (event == Json::parse_event_t::object_start) {
        if (depth > 1) fail("the header is nested too deep");
        keys.emplace_back();
      } else if (event == Json::parse_event_t::object_end) {
        keys.pop_back();
      } else if (event == Json::parse_event_t::array_start && depth > 2) {
        fail("the header is nested too deep");
      } else if (event == Json::parse_event_t::key &&
                 !keys.back().insert(value.get<std::string>()).second) {
        fail("the key '" + value.get<std::string>() + "' stands twice in the header");
      }
      return true;
    };
    try {
      return Json::parse(text.begin(), text.end(), check);
    } catch (const Json::exception& error) {
      fail(std::string("the header is no JSON: ") + error.what());
    }
  }

  void read_metadata(const Json& entry, Safetensors& content) const {
    if (!entry.is_object()) fail("__metadata__ is no object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) fail("__metadata__ holds '" + key + "', which is no string");
      content.metadata.emplace(key, value.get<std::string>());
    }
  }

  /// A list of numbers that are not negative and fit the int64 of LibTorch.
  std::vector<std::int64_t> numbers(const std::string& name, const Json& entry,
                                    const char* key) const {
    const Json& list = entry.at(key);
    if (!list.is_array() || list.size() > kMostDimensions) {
      fail(fmt::format("'{}' of the tensor '{}' is no short list", key, name));
    }
    std::vector<std::int64_t> values;
    for (const Json& value : list) {
      if (!value.is_number_unsigned() ||
          value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
        fail(fmt::format("'{}' of the tensor '{}' holds {}", key, name, value.dump()));
      }
      values.push_back(value.get<std::int64_t>());
    }
    return values;
  }

  at::ScalarType dtype(const std::string& name, const Json& entry) const {
    for (const auto& [text, type] : kDtypes) {
      if (entry.at("dtype") == text) return type;
    }
    fail(fmt::format("the tensor '{}' has the unknown dtype {}", name, entry.at("dtype").dump()));
  }

  /// Bytes that a tensor of this shape takes, or nothing if no file could hold them. LibTorch
  /// computes strides even of a tensor that a 0 among the sizes leaves empty: they don't overflow.
  static std::optional<std::uint64_t> size_in_bytes(const std::vector<std::int64_t>& shape,
                                                    std::uint64_t element_size) {
    auto size = static_cast<std::int64_t>(element_size);
    for (const std::int64_t extent : shape) {
      if (__builtin_mul_overflow(size, std::max<std::int64_t>(extent, 1), &size)) {
        return std::nullopt;
      }
    }
    const bool is_empty = std::count(shape.begin(), shape.end(), 0) > 0;
    return is_empty ? 0 : static_cast<std::uint64_t>(size);
  }

  at::Tensor read_tensor(const std::string& name, const Json& entry) {
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
        !entry.contains("shape") || !entry.contains("data_offsets")) {
      fail(fmt::format("the tensor '{}' needs exactly dtype, shape and data_offsets", name));
    }
    const at::ScalarType type = dtype(name, entry);
    const auto shape = numbers(name, entry, "shape");
    const auto offsets = numbers(name, entry, "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
      fail(fmt::format("data_offsets of the tensor '{}' are no range", name));
    }
    const auto begin = static_cast<std::uint64_t>(offsets[0]);
    const auto end = static_cast<std::uint64_t>(offsets[1]);
    const auto size = size_in_bytes(shape, c10::elementSize(type));
    if (size != end - begin || end > data_.size()) {
      fail(fmt::format("the tensor '{}' has the bytes {} to {} of {}, which do not fit its shape",
                       name, begin, end, data_.size()));
    }
    ranges_.push_back({begin, end, name});
    return make_tensor(name, type, shape, data_.substr(begin, end - begin));
  }

  at::Tensor make_tensor(const std::string& name, at::ScalarType type,
                         const std::vector<std::int64_t>& shape, std::string_view data) const {
    if (type == at::kBool &&
        std::any_of(data.begin(), data.end(), [](char byte) { return byte != 0 && byte != 1; })) {
      fail(fmt::format("the tensor '{}' holds bools that are neither 0 nor 1", name));
    }
    at::Tensor tensor = at::empty(shape, at::TensorOptions(type));
    if (!data.empty()) std::memcpy(tensor.data_ptr(), data.data(), data.size());
    return tensor;
  }

  /// Every byte belongs to exactly one tensor.
  void check_ranges() {
    std::sort(ranges_.begin(), ranges_.end(), [](const Range& left, const Range& right) {
      return std::tie(left.begin, left.end) < std::tie(right.begin, right.end);
    });
    std::uint64_t expected = 0;
    for (const Range& range : ranges_) {
      if (range.begin != expected) {
        fail(fmt::format("the tensor '{}' starts at byte {} of the data, expected {}", range.name,
                         range.begin, expected));
      }
      expected = range.end;
    }
    if (expected != data_.size()) {
      fail(fmt::format("the tensors take {} bytes, the data has {}", expected, data_.size()));
    }
  }

  std::string_view bytes_, data_;
  const std::string& where_;
  std::vector<Range> ranges_;
};

}  // namespace

std::string write_safetensors(const Safetensors& content) {
  std::vector<std::pair<std::string, at::Tensor>> ordered(content.tensors.begin(),
                                                          content.tensors.end());
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& left, const auto& right) {
    return left.second.element_size() > right.second.element_size();
  });
  Json header = Json::object();
  if (!content.metadata.empty()) header[kMetadata] = content.metadata;
  std::string data;
  for (const auto& [name, tensor] : ordered) {
    const at::Tensor stored = tensor.detach().contiguous();
    const std::size_t begin = data.size();
    data.append(static_cast<const char*>(stored.data_ptr()), stored.nbytes());
    header[name] = {{"dtype", name_of(stored.scalar_type())},
                    {"shape", stored.sizes().vec()},
                    {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data starts aligned
  return little_endian(text.size()) + text + data;
}

Safetensors read_safetensors(std::string_view bytes, const std::string& where) {
  return Reader(bytes, where).read();
}

}  // namespace edgecompress
