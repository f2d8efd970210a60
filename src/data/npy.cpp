#include "data/npy.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <numeric>

#include "data/errors.h"
#include "data/tensor_dataset.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
/// NumPy itself refuses to parse longer ones from untrusted files.
constexpr std::int64_t kLongestHeader = 10000;
constexpr std::size_t kMostDimensions = 32;

at::ScalarType parse_dtype(const std::string& text, const std::string& name) {
  static const std::map<std::string, at::ScalarType> kTypes = {
      {"|u1", at::kByte},  {"|i1", at::kChar},  {"|b1", at::kBool},
      {"<i2", at::kShort}, {"<i4", at::kInt},   {"<i8", at::kLong},
      {"<f2", at::kHalf},  {"<f4", at::kFloat}, {"<f8", at::kDouble}};
  // One byte has no order: NumPy writes "|u1", others "<u1".
  const auto one_byte = ends_with(text, "1") ? "|" + text.substr(text.empty() ? 0 : 1) : text;
  const auto found = kTypes.find(one_byte);
  if (found != kTypes.end()) return found->second;
  data_error(
      name, fmt::format("values of type '{}' can't be read", text),
      "convert to uint8, int8, int16, int32, int64, float16, float32, float64 or bool of this "
      "machine's byte order: array.astype('float32')");
}

/// The header is a Python dict literal of exactly three keys; this reads that and nothing else.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    bool has_dtype = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const auto key = string();
      expect(':');
      if (key == "descr" && !has_dtype) {
        has_dtype = true;
        header.dtype = dtype();
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        header.is_fortran = boolean();
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        header.shape = shape();
      } else {
        data_error(name_, fmt::format("npy header with unexpected key '{}'", key));
      }
      if (!accept(',') && !is_next('}')) unexpected();
    }
    skip_space();
    if (at_ != text_.size()) unexpected();
    if (!has_dtype || !has_order || !has_shape)
      data_error(name_, "npy header without descr, fortran_order or shape");
    return header;
  }

 private:
  [[noreturn]] void unexpected() const {
    data_error(name_, fmt::format("npy header not understood at byte {}", at_));
  }
  void skip_space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool is_next(char wanted) {
    skip_space();
    return at_ < text_.size() && text_[at_] == wanted;
  }
  bool accept(char wanted) {
    if (!is_next(wanted)) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) unexpected();
  }
  std::string string() {
    const char quote = is_next('"') ? '"' : '\'';
    expect(quote);
    const auto end = text_.find(quote, at_);
    if (end == std::string_view::npos) unexpected();
    const std::string value(text_.substr(at_, end - at_));
    at_ = end + 1;
    return value;
  }
  at::ScalarType dtype() {
    if (is_next('['))
      data_error(name_, "holds records of several fields", "save one array for each field");
    const auto text = string();
    if (ends_with(text, "O"))
      data_error(name_, "holds Python objects, which are never loaded",
                 "save it as numbers: array.astype('float32')");
    return parse_dtype(text, name_);
  }
  bool boolean() {
    skip_space();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)})
      if (starts_with(text_.substr(at_), word)) {
        at_ += std::string_view(word).size();
        return value;
      }
    unexpected();
  }
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      sizes.push_back(size());
      if (sizes.size() > kMostDimensions) data_error(name_, "npy header with too many dimensions");
      if (!accept(',') && !is_next(')')) unexpected();
    }
    return sizes;
  }
  std::int64_t size() {
    skip_space();
    std::int64_t value = 0;
    const auto result = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (result.ec != std::errc() || value < 0)
      data_error(name_, "npy header with a dimension that is no size");
    at_ = result.ptr - text_.data();
    return value;
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

/// Bytes of the values, or of one sample if `shape` leaves out the first dimension; no overflow,
/// also of the strides, which LibTorch computes even of an array that a 0 among the sizes leaves
/// empty.
std::int64_t bytes_of(c10::ArrayRef<std::int64_t> shape, at::ScalarType dtype,
                      const std::string& name) {
  auto bytes = static_cast<std::int64_t>(c10::elementSize(dtype));
  bool is_empty = false;
  for (const auto size : shape) {
    is_empty = is_empty || size == 0;
    if (__builtin_mul_overflow(bytes, std::max<std::int64_t>(size, 1), &bytes))
      data_error(name,
                 fmt::format("npy header claims an impossible shape, {}", fmt::join(shape, "x")));
  }
  return is_empty ? 0 : bytes;
}

class NpyDataset : public Dataset {
 public:
  NpyDataset(std::vector<NpyArray> inputs, at::Tensor target,
             std::vector<std::filesystem::path> files)
      : inputs_(std::move(inputs)),
        target_(std::move(target)),
        range_(label_range_of(target_)),
        files_(std::move(files)) {}
  std::int64_t size() const override { return inputs_[0].size(); }
  bool has_target() const override { return target_.defined(); }
  std::optional<LabelRange> label_range() const override { return range_; }
  std::vector<std::filesystem::path> files() const override { return files_; }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t) const override {
    Batch batch;
    batch.size = static_cast<std::int64_t>(indices.size());
    for (const auto& input : inputs_) batch.inputs.push_back(input.read(indices));
    if (target_.defined()) batch.target = target_.index_select(0, at::tensor(indices, at::kLong));
    return batch;
  }

 private:
  std::vector<NpyArray> inputs_;
  at::Tensor target_;
  std::optional<LabelRange> range_;
  std::vector<std::filesystem::path> files_;
};

}  // namespace

std::int64_t NpyHeader::bytes_of_values() const { return bytes_of(shape, dtype, ""); }

NpyHeader read_npy_header(const Bytes& bytes) {
  const auto name = bytes.name();
  if (bytes.size() < 10) data_error(name, "is no npy array");
  unsigned char start[12] = {};
  bytes.read(0, reinterpret_cast<char*>(start), std::min<std::int64_t>(12, bytes.size()));
  if (std::string_view(reinterpret_cast<char*>(start), kMagic.size()) != kMagic)
    data_error(name, "is no npy array");
  const int version = start[6];
  if (version < 1 || version > 3)
    data_error(name, fmt::format("npy version {} is not known", version));
  const bool is_first = version == 1;
  const std::int64_t length = start[8] | start[9] << 8 |
                              (is_first ? 0
                                        : static_cast<std::int64_t>(start[10]) << 16 |
                                              static_cast<std::int64_t>(start[11]) << 24);
  if (length > kLongestHeader) data_error(name, fmt::format("npy header of {} bytes", length));
  const std::int64_t begin = is_first ? 10 : 12;
  std::string text(length, '\0');
  bytes.read(begin, text.data(), length);

  auto header = HeaderParser(text, name).parse();
  header.data_offset = begin + length;
  const auto claimed = bytes_of(header.shape, header.dtype, name);
  if (claimed > bytes.size() - header.data_offset)
    data_error(
        name,
        fmt::format("header claims {} values ({}), found {} of data", fmt::join(header.shape, "x"),
                    human_bytes(claimed), human_bytes(bytes.size() - header.data_offset)),
        "the file is cut off; write it again");
  return header;
}

NpyArray::NpyArray(std::shared_ptr<const Bytes> bytes)
    : bytes_(std::move(bytes)), header_(read_npy_header(*bytes_)) {
  if (header_.shape.empty()) data_error(name(), "is a single value, expected [samples, ...]");
  if (header_.is_fortran && header_.shape.size() > 1) {
    auto values = read_whole();
    std::vector<std::int64_t> order(values.dim());
    std::iota(order.rbegin(), order.rend(), 0);
    const std::vector<std::int64_t> reversed(header_.shape.rbegin(), header_.shape.rend());
    turned_ = values.view(reversed).permute(order).contiguous();
  }
}

at::Tensor NpyArray::read(c10::ArrayRef<std::int64_t> indices) const {
  if (turned_.defined()) return turned_.index_select(0, at::tensor(indices, at::kLong));
  auto shape = header_.shape;
  const auto sample_bytes =
      bytes_of(c10::ArrayRef<std::int64_t>(shape).slice(1), header_.dtype, name());
  shape[0] = static_cast<std::int64_t>(indices.size());
  check_fits_memory(bytes_of(shape, header_.dtype, name()), name());
  auto samples = at::empty(shape, header_.dtype);
  auto* to = static_cast<char*>(samples.data_ptr());
  for (std::size_t i = 0; i < indices.size();) {
    // Neighbours are read in one go.
    std::size_t run = 1;
    while (i + run < indices.size() &&
           indices[i + run] == indices[i] + static_cast<std::int64_t>(run))
      ++run;
    const auto bytes = static_cast<std::int64_t>(run) * sample_bytes;
    bytes_->read(header_.data_offset + indices[i] * sample_bytes, to, bytes);
    to += bytes;
    i += run;
  }
  return samples;
}

at::Tensor NpyArray::read_whole() const {
  if (turned_.defined()) return turned_;
  const auto bytes = header_.bytes_of_values();
  check_fits_memory(bytes, name());
  auto values = at::empty(header_.shape, header_.dtype);
  bytes_->read(header_.data_offset, static_cast<char*>(values.data_ptr()), bytes);
  return values;
}

std::shared_ptr<const Dataset> npy_dataset(std::vector<NpyArray> inputs, const NpyArray* target,
                                           std::vector<std::filesystem::path> files) {
  const auto check_size = [&](const NpyArray& array) {
    if (array.size() != inputs[0].size())
      data_error(array.name(), fmt::format("has {} samples, but {} has {}", array.size(),
                                           inputs[0].name(), inputs[0].size()));
  };
  for (const auto& input : inputs) check_size(input);
  at::Tensor labels;
  if (target != nullptr) {
    check_size(*target);
    labels = as_target(target->read_whole(), target->name());
  }
  return std::make_shared<NpyDataset>(std::move(inputs), labels, std::move(files));
}

}  // namespace edgecompress
