// The pickles of an archive are run on a machine that knows the opcodes of LibTorch's unpickler,
// and of values only what tensors are made of: numbers, strings, tuples, storages, tensors and the
// names of functions. What it does not know it refuses. To LibTorch a function is a number; here a
// number is no function, so that what is called is what was seen.
#include "model/archive_tensors.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <utility>
#include <variant>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kLargestPickle = std::uint64_t{1} << 30;
constexpr std::size_t kDeepestTuple = 1000;

struct PickledName {
  std::string module, name;
};
struct PickledStorage {
  std::string record;
  std::int64_t elements = 0;
};
struct PickledTensor {
  std::int64_t elements = 0;
};
struct PickledValue;
using PickledTuple = std::shared_ptr<const std::vector<PickledValue>>;
struct PickledValue {
  /// std::monostate: anything that no tensor is made of.
  std::variant<std::monostate, std::int64_t, std::string, PickledName, PickledStorage,
               PickledTensor, PickledTuple>
      value;
  std::size_t depth = 0;  ///< of tuples in tuples, which are destroyed one within the other
};

/// Bytes of an element by the storage's name: "FloatStorage".
const std::map<std::string, std::int64_t>& storage_elements() {
#define EDGECOMPRESS_STORAGE(type, name) {#name "Storage", sizeof(type)},
  static const std::map<std::string, std::int64_t> sizes = {
      AT_FORALL_SCALAR_TYPES_WITH_COMPLEX_AND_QINTS(EDGECOMPRESS_STORAGE)};
#undef EDGECOMPRESS_STORAGE
  return sizes;
}

/// Elements that share one of the storage's.
std::int64_t packed_elements(const std::string& storage) {
  return storage == "QUInt4x2Storage" ? 2 : storage == "QUInt2x4Storage" ? 4 : 1;
}

class PickleMachine {
 public:
  /// The storages of "data.pkl" are in the folder "data".
  PickleMachine(const ZipArchive& archive, std::string record)
      : archive_(archive),
        record_(std::move(record)),
        folder_(record_.substr(0, record_.find('.'))) {
    const auto size = archive.size_of(record_).value_or(0);
    if (size > kLargestPickle) fail("too large");
    bytes_ = archive.read(record_, size);
  }

  void run() {
    if (bytes_.empty()) return;
    if (take<std::uint8_t>() != 0x80 || take<std::uint8_t>() != 2) fail("not of protocol 2");
    for (auto opcode = take<char>(); opcode != '.'; opcode = take<char>()) step(opcode);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ExitCode::kModel,
                fmt::format("{}: {}: {}", archive_.path().string(), record_, what),
                "get the file from its source again; if it comes from somebody you don't know, "
                "do not load it");
  }

  // ---- The bytes ------------------------------------------------------------------------------

  std::string take_bytes(std::size_t count) {
    if (count > bytes_.size() - at_) fail("cut off");
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  template <class Number>
  Number take() {
    Number number;
    std::memcpy(&number, take_bytes(sizeof number).data(), sizeof number);
    return number;
  }
  std::string take_line() {
    const auto end = bytes_.find('\n', at_);
    if (end == std::string::npos) fail("cut off");
    const std::string line = take_bytes(end - at_);
    ++at_;
    return line;
  }

  // ---- The stack ------------------------------------------------------------------------------

  template <class Value>
  void push(Value value) {
    stack_.emplace_back().value = std::move(value);
  }
  void push_other() { push(std::monostate()); }
  PickledValue pop() {
    if (stack_.empty()) fail("its stack is empty");
    PickledValue value = std::move(stack_.back());
    stack_.pop_back();
    return value;
  }
  std::vector<PickledValue> pop_some(std::size_t count) {
    if (count > stack_.size()) fail("its stack is empty");
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<PickledValue> values(std::make_move_iterator(first),
                                     std::make_move_iterator(stack_.end()));
    stack_.erase(first, stack_.end());
    return values;
  }
  std::vector<PickledValue> pop_to_mark() {
    if (marks_.empty() || marks_.back() > stack_.size()) fail("its marks are wrong");
    const auto mark = marks_.back();
    marks_.pop_back();
    return pop_some(stack_.size() - mark);
  }
  void push_tuple(std::vector<PickledValue> elements) {
    std::size_t depth = 0;
    for (const PickledValue& element : elements) depth = std::max(depth, element.depth + 1);
    if (depth > kDeepestTuple) fail("nested too deep");
    push(std::make_shared<const std::vector<PickledValue>>(std::move(elements)));
    stack_.back().depth = depth;
  }
  void remember(std::size_t id) {
    if (stack_.empty()) fail("its stack is empty");
    if (id > bytes_.size()) fail("its memo is larger than itself");  // LibTorch makes room for all
    memo_[id] = stack_.back();
  }
  void recall(std::size_t id) {
    const auto found = memo_.find(id);
    if (found == memo_.end()) fail("it uses what it does not hold");
    stack_.push_back(found->second);
  }

  template <class Value>
  const Value& as(const PickledValue& value) const {
    const auto* found = std::get_if<Value>(&value.value);
    if (!found) fail(fmt::format("{} is not made as LibTorch makes tensors", place()));
    return *found;
  }
  const PickledValue& element(const PickledTuple& tuple, std::size_t index) const {
    if (index >= tuple->size()) fail(fmt::format("{} lacks an argument", place()));
    return (*tuple)[index];
  }

  /// "layer1.0.weight": the last key on the stack of each object that is under way.
  std::string place() const {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i <= marks_.size(); ++i) {
      const auto begin = i == 0 ? 0 : marks_[i - 1];
      auto end = i == marks_.size() ? stack_.size() : marks_[i];
      while (end > begin && !std::holds_alternative<std::string>(stack_[end - 1].value)) --end;
      if (end > begin) keys.push_back(std::get<std::string>(stack_[end - 1].value));
    }
    return keys.empty() ? "a tensor" : "the tensor " + join(keys, ".");
  }

  // ---- Opcodes --------------------------------------------------------------------------------

  void step(char opcode) {
    switch (static_cast<unsigned char>(opcode)) {
      case '(':
        return marks_.push_back(stack_.size());
      case 'N':
      case 0x88:  // True
      case 0x89:  // False
      case ']':
      case '}':
        return push_other();
      case 'K':
        return push(std::int64_t{take<std::uint8_t>()});
      case 'M':
        return push(std::int64_t{take<std::uint16_t>()});
      case 'J':
        return push(std::int64_t{take<std::int32_t>()});
      case 0x8a:
        if (take<std::uint8_t>() != 8) fail("a number of more than 64 bits");
        return push(take<std::int64_t>());
      case 'G':
        take<double>();
        return push_other();
      case 'X':
        return push(take_bytes(take<std::uint32_t>()));
      case ')':
        return push_tuple({});
      case 0x85:
      case 0x86:
      case 0x87:
        return push_tuple(pop_some(static_cast<unsigned char>(opcode) - 0x84U));
      case 't':
        return push_tuple(pop_to_mark());
      case 'l':
      case 'd':
        pop_to_mark();
        return push_other();
      case 'e':
      case 'u':
        pop_to_mark();
        return;
      case 'a':
        pop();
        return;
      case 's':
        pop_some(2);
        return;
      default:
        return step_with_names(opcode);
    }
  }

  void step_with_names(char opcode) {
    switch (static_cast<unsigned char>(opcode)) {
      case 'q':
        return remember(take<std::uint8_t>());
      case 'r':
        return remember(take<std::uint32_t>());
      case 'h':
        return recall(take<std::uint8_t>());
      case 'j':
        return recall(take<std::uint32_t>());
      case 'c': {
        std::string module = take_line();
        return push(PickledName{std::move(module), take_line()});
      }
      case 0x81:  // NEWOBJ: the class stays, for BUILD
        pop();
        return;
      case 'b':
      case 'R': {
        const PickledValue argument = pop();
        const PickledValue function = pop();
        return call(as<PickledName>(function), argument);
      }
      case 'Q':
        return push_storage(as<PickledTuple>(pop()));
      default:
        fail(fmt::format("opcode {:#04x}, which LibTorch does not write",
                         static_cast<unsigned char>(opcode)));
    }
  }

  void call(const PickledName& function, const PickledValue& argument) {
    const bool is_torch = function.module == "torch" || starts_with(function.module, "torch.");
    if (function.module == "torch._utils" &&
        (function.name == "_rebuild_tensor_v2" || function.name == "_rebuild_qtensor")) {
      return push_tensor(as<PickledTuple>(argument), function.name == "_rebuild_qtensor");
    }
    if (is_torch && function.module != "torch.jit._pickle" &&
        !(function.module == "torch" && function.name == "device")) {
      fail(fmt::format("{} is made by {}.{}, which is not supported", place(), function.module,
                       function.name));
    }
    push_other();
  }

  /// ("storage", torch.FloatStorage, "3", "cpu", elements)
  void push_storage(const PickledTuple& arguments) {
    const auto& type = as<PickledName>(element(arguments, 1));
    const auto found = storage_elements().find(type.name);
    if (type.module != "torch" || found == storage_elements().end()) {
      fail(fmt::format("{} is of the unknown type {}.{}", place(), type.module, type.name));
    }
    const std::string record = folder_ + "/" + as<std::string>(element(arguments, 2));
    const auto elements = as<std::int64_t>(element(arguments, 4));
    const auto held = archive_.size_of(record).value_or(0) / found->second;
    if (elements < 0 || static_cast<std::uint64_t>(elements) > held) {
      fail(fmt::format("{} claims {} elements, but {} holds {}", place(), elements, record, held));
    }
    push(PickledStorage{record, elements * packed_elements(type.name)});
  }

  /// (storage, offset, sizes, strides, [quantizer,] ...)
  void push_tensor(const PickledTuple& arguments, bool is_quantized) {
    const auto& storage = as<PickledStorage>(element(arguments, 0));
    const auto& sizes = as<PickledTuple>(element(arguments, 2));
    const auto& strides = as<PickledTuple>(element(arguments, 3));
    auto last = as<std::int64_t>(element(arguments, 1));
    bool is_good = last >= 0 && sizes->size() == strides->size();
    std::int64_t elements = 1;
    for (std::size_t i = 0; is_good && i < sizes->size(); ++i) {
      const auto size = as<std::int64_t>((*sizes)[i]), stride = as<std::int64_t>((*strides)[i]);
      std::int64_t reach = 0;
      is_good = size >= 0 && stride >= 0 && !__builtin_mul_overflow(elements, size, &elements) &&
                !__builtin_mul_overflow(size > 0 ? size - 1 : 0, stride, &reach) &&
                !__builtin_add_overflow(last, reach, &last);
    }
    if (!is_good || (elements > 0 && last >= storage.elements)) {
      fail(fmt::format("{} reaches beyond the {} elements of {}", place(), storage.elements,
                       storage.record));
    }
    if (is_quantized) check_quantizer(as<PickledTuple>(element(arguments, 4)), *sizes);
    push(PickledTensor{elements});
  }

  /// (scheme, scales, zero points, axis), or (scheme, scale, zero point). LibTorch looks up a scale
  /// for each channel.
  void check_quantizer(const PickledTuple& quantizer, const std::vector<PickledValue>& sizes) {
    const PickledValue& scales = element(quantizer, 1);
    if (!std::holds_alternative<PickledTensor>(scales.value)) return;
    const auto axis = as<std::int64_t>(element(quantizer, 3));
    if (axis < 0 || axis >= static_cast<std::int64_t>(sizes.size()) ||
        as<PickledTensor>(scales).elements !=
            as<std::int64_t>(sizes[static_cast<std::size_t>(axis)]) ||
        as<PickledTensor>(element(quantizer, 2)).elements != as<PickledTensor>(scales).elements) {
      fail(fmt::format("{} has not one scale and zero point for each channel", place()));
    }
  }

  const ZipArchive& archive_;
  std::string record_, folder_;
  std::string bytes_;
  std::size_t at_ = 0;
  std::vector<PickledValue> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::size_t, PickledValue> memo_;
};

}  // namespace

void check_archive_tensors(const ZipArchive& archive) {
  for (const char* record : {"constants.pkl", "data.pkl"}) PickleMachine(archive, record).run();
  // Where the code came from, which LibTorch reads when it words an error.
  for (const std::string& name : archive.names()) {
    const std::string record = name.substr(name.find('/') + 1);
    if (ends_with(record, ".debug_pkl")) PickleMachine(archive, record).run();
  }
}

}  // namespace edgecompress
