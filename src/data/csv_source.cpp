// Source "csv": numbers in rows (RFC 4180). Where each row begins is noted once; rows are parsed
// when they are read. The input columns make one input, [n, columns] or of the `shape` given.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>  // fmt::join, from fmt 11 on

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "data/bytes.h"
#include "data/source.h"
#include "data/tensor_dataset.h"
#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::int64_t kChunk = 1 << 20;
constexpr std::int64_t kLongestRow = 16 << 20;

struct CsvOptions {
  bool header = true;
  std::string delimiter = ",";
  std::vector<std::int64_t> shape;
  std::string target_type = "auto";
};

using Fields = std::vector<std::string>;

/// The fields of one row, quotes taken off.
Fields split_fields(std::string_view row, char delimiter) {
  Fields fields(1);
  bool is_quoted = false;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const char c = row[i];
    if (c == '"' && is_quoted && i + 1 < row.size() && row[i + 1] == '"')
      fields.back() += row[++i];
    else if (c == '"')
      is_quoted = !is_quoted;
    else if (c == delimiter && !is_quoted)
      fields.emplace_back();
    else
      fields.back() += c;
  }
  return fields;
}

bool parse_number(std::string_view text, double& value) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return false;
  text = text.substr(first, text.find_last_not_of(" \t") - first + 1);
  if (text.front() == '+') text.remove_prefix(1);
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

/// A file of rows: where each begins and ends, read on demand.
class CsvRows {
 public:
  CsvRows(std::shared_ptr<const Bytes> bytes, char delimiter)
      : bytes_(std::move(bytes)), delimiter_(delimiter) {
    find_rows();
  }
  std::int64_t size() const { return static_cast<std::int64_t>(rows_.size()); }
  Fields fields(std::int64_t row) const { return split_fields(text(row), delimiter_); }
  /// "data.csv, line 17": counted only when something is wrong.
  std::string place(std::int64_t row) const;
  std::string name() const { return bytes_->name(); }

 private:
  struct Row {
    std::int64_t begin;
    std::int64_t length;
  };
  std::string text(std::int64_t row) const {
    std::string line(rows_.at(row).length, '\0');
    bytes_->read(rows_[row].begin, line.data(), rows_[row].length);
    return line;
  }
  void find_rows();
  void add_row(std::int64_t begin, std::int64_t end, bool is_blank);

  std::shared_ptr<const Bytes> bytes_;
  char delimiter_;
  std::vector<Row> rows_;
};

void CsvRows::find_rows() {
  std::string chunk;
  std::int64_t begin = 0;
  bool is_quoted = false, is_blank = true, ends_in_return = false;
  for (std::int64_t offset = 0; offset < bytes_->size(); offset += kChunk) {
    chunk.resize(std::min(kChunk, bytes_->size() - offset));
    bytes_->read(offset, chunk.data(), static_cast<std::int64_t>(chunk.size()));
    std::size_t i = 0;
    if (offset == 0 && starts_with(chunk, "\xef\xbb\xbf")) begin = i = 3;  // byte order mark
    for (; i < chunk.size(); ++i) {
      const char c = chunk[i];
      const auto position = offset + static_cast<std::int64_t>(i);
      if (c == '"') is_quoted = !is_quoted;
      if (c == '\n' && !is_quoted) {
        add_row(begin, position - (ends_in_return ? 1 : 0), is_blank);
        begin = position + 1;
        is_blank = true;
      } else if (c != ' ' && c != '\r') {
        is_blank = false;
      }
      ends_in_return = c == '\r';
    }
  }
  add_row(begin, bytes_->size(), is_blank);
  if (is_quoted)
    throw Error(ExitCode::kData, fmt::format("{}: a quote is never closed", place(size() - 1)));
}

void CsvRows::add_row(std::int64_t begin, std::int64_t end, bool is_blank) {
  if (is_blank) return;
  rows_.push_back({begin, end - begin});
  if (end - begin > kLongestRow)
    throw Error(ExitCode::kData, fmt::format("{}: a row of {}, is this a CSV file?",
                                             place(size() - 1), human_bytes(end - begin)));
}

std::string CsvRows::place(std::int64_t row) const {
  std::int64_t line = 1;
  std::string chunk;
  for (std::int64_t offset = 0; offset < rows_.at(row).begin; offset += kChunk) {
    chunk.resize(std::min(kChunk, rows_[row].begin - offset));
    bytes_->read(offset, chunk.data(), static_cast<std::int64_t>(chunk.size()));
    line += std::count(chunk.begin(), chunk.end(), '\n');
  }
  return fmt::format("{}, line {}", name(), line);
}

class CsvDataset : public Dataset {
 public:
  CsvDataset(const SourceRequest& request, const CsvOptions& options);

  std::int64_t size() const override { return rows_.size() - first_row_; }
  bool has_target() const override { return target_.defined(); }
  std::optional<LabelRange> label_range() const override { return label_range_of(target_); }
  std::vector<std::filesystem::path> files() const override { return {path_}; }
  Batch read(c10::ArrayRef<std::int64_t> indices, std::uint64_t seed) const override;

 private:
  std::size_t column(const std::string& name) const;
  void choose_columns(const SourceRequest& request, const std::vector<std::int64_t>& shape);
  void read_target(std::size_t column, const std::string& type);
  double number(const Fields& fields, std::size_t column, std::int64_t index) const;

  std::filesystem::path path_;
  CsvRows rows_;
  Fields names_;  ///< of the columns; "0", "1", ... without a header
  std::int64_t first_row_;
  std::vector<std::size_t> columns_;
  std::vector<std::int64_t> shape_;  ///< of one sample
  at::Tensor target_;
};

CsvDataset::CsvDataset(const SourceRequest& request, const CsvOptions& options)
    : path_(request.path),
      rows_(open_file_bytes(request.path), options.delimiter[0]),
      first_row_(options.header ? 1 : 0) {
  if (size() < 1) throw Error(ExitCode::kData, fmt::format("{}: has no rows", path_.string()));
  names_ = rows_.fields(0);
  if (!options.header)
    for (std::size_t i = 0; i < names_.size(); ++i) names_[i] = std::to_string(i);
  choose_columns(request, options.shape);
  if (!request.target.empty()) read_target(column(request.target), options.target_type);
}

std::size_t CsvDataset::column(const std::string& name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found != names_.end()) return found - names_.begin();
  std::size_t index = 0;
  const auto result = std::from_chars(name.data(), name.data() + name.size(), index);
  if (result.ec == std::errc() && result.ptr == name.data() + name.size() && index < names_.size())
    return index;
  const auto nearest = nearest_name(name, names_);
  throw Error(
      ExitCode::kData,
      fmt::format("{}: has no column '{}', it has {}", path_.string(), name, join(names_, ", ")),
      nearest.empty() ? "columns are given by name or by number, from 0"
                      : fmt::format("did you mean '{}'?", nearest));
}

void CsvDataset::choose_columns(const SourceRequest& request,
                                const std::vector<std::int64_t>& shape) {
  for (const auto& name : request.inputs) columns_.push_back(column(name));
  if (columns_.empty()) {
    columns_.resize(names_.size());
    std::iota(columns_.begin(), columns_.end(), 0);
    if (!request.target.empty()) columns_.erase(columns_.begin() + column(request.target));
  }
  if (columns_.empty())
    throw Error(ExitCode::kData,
                fmt::format("{}: has no column beside the target", path_.string()));
  const auto count = static_cast<std::int64_t>(columns_.size());
  shape_ = shape.empty() ? std::vector<std::int64_t>{count} : shape;
  std::int64_t values = 1;
  for (const auto side : shape_)
    if (side < 1 || __builtin_mul_overflow(values, side, &values)) values = 0;
  if (values != count)
    throw Error(ExitCode::kData, fmt::format("{}: {} input columns can't take the shape {}",
                                             path_.string(), count, fmt::join(shape_, "x")));
}

void CsvDataset::read_target(std::size_t column, const std::string& type) {
  auto values = at::empty({size()}, at::kDouble);
  auto* value = values.data_ptr<double>();
  bool are_integers = true;
  for (std::int64_t i = 0; i < size(); ++i) {
    value[i] = number(rows_.fields(first_row_ + i), column, i);
    // Beyond 2^53 a double has no exact integers; such are no class ids.
    are_integers =
        are_integers && value[i] == std::trunc(value[i]) && std::abs(value[i]) < 9007199254740992.0;
  }
  if (type == "class" && !are_integers)
    throw Error(ExitCode::kData,
                fmt::format("{}: column '{}' has values that are no class ids (integers)",
                            path_.string(), names_[column]));
  target_ = values.to(type != "number" && are_integers ? at::kLong : at::kFloat);
}

double CsvDataset::number(const Fields& fields, std::size_t column, std::int64_t index) const {
  double value = 0;
  if (fields.size() != names_.size())
    throw Error(ExitCode::kData,
                fmt::format("{}: has {} columns, expected {}", rows_.place(first_row_ + index),
                            fields.size(), names_.size()));
  if (!parse_number(fields[column], value))
    throw Error(ExitCode::kData, fmt::format("{}, column '{}': found '{}', expected a number",
                                             rows_.place(first_row_ + index), names_[column],
                                             fields[column].substr(0, 40)));
  return value;
}

Batch CsvDataset::read(c10::ArrayRef<std::int64_t> indices, std::uint64_t) const {
  auto shape = shape_;
  shape.insert(shape.begin(), static_cast<std::int64_t>(indices.size()));
  Batch batch;
  batch.size = shape[0];
  batch.inputs.push_back(at::empty(shape, at::kFloat));
  auto* value = batch.inputs[0].data_ptr<float>();
  for (const auto index : indices) {
    const auto fields = rows_.fields(first_row_ + index);
    for (const auto column : columns_) *value++ = static_cast<float>(number(fields, column, index));
  }
  if (target_.defined()) batch.target = target_.index_select(0, at::tensor(indices, at::kLong));
  return batch;
}

Options<CsvOptions> csv_options() {
  Options<CsvOptions> options;
  options.add("header", &CsvOptions::header,
              "the first row names the columns; false: they are 0, 1, ...");
  options.add("delimiter", &CsvOptions::delimiter, "what separates the columns")
      .one_of({",", ";", "\t", "|"});
  options.add("shape", &CsvOptions::shape, "shape of one sample, as [1, 28, 28]; empty: [columns]");
  options
      .add("target_type", &CsvOptions::target_type,
           "class ids or numbers to regress; auto: class ids if all are integers")
      .one_of({"auto", "class", "number"});
  return options;
}

}  // namespace

Source csv_source() {
  const auto options = csv_options();
  return {"csv", "numbers in rows; inputs and target name columns, or count them from 0",
          /*needs_path=*/true, options.table(), [options](const SourceRequest& request) {
            return std::make_shared<CsvDataset>(request, options.bind(request.options));
          }};
}

}  // namespace edgecompress
