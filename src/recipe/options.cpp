#include "recipe/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "edgecompress/error.h"
#include "util/text.h"

namespace edgecompress {

namespace {

struct TypeName {
  OptionType type;
  const char* name;       ///< in a catalogue
  const char* one;        ///< in an error message
  const char* json_type;  ///< in a schema
  const char* item_type;  ///< in a schema, of a list's elements
};

constexpr std::array<TypeName, 10> kTypes = {{
    {OptionType::kBoolean, "boolean", "true or false", "boolean", nullptr},
    {OptionType::kInteger, "integer", "an integer", "integer", nullptr},
    {OptionType::kNumber, "number", "a number", "number", nullptr},
    {OptionType::kString, "string", "a string", "string", nullptr},
    {OptionType::kStrings, "strings", "a list of strings", "array", "string"},
    {OptionType::kNumbers, "numbers", "a list of numbers", "array", "number"},
    {OptionType::kIntegers, "integers", "a list of integers", "array", "integer"},
    {OptionType::kObject, "object", "an object", "object", nullptr},
    {OptionType::kObjects, "objects", "a list of objects", "array", "object"},
    {OptionType::kAny, "any", "any value", nullptr, nullptr},
}};

const TypeName& type_name(OptionType type) {
  for (const TypeName& known : kTypes) {
    if (known.type == type) return known;
  }
  throw Error(ExitCode::kInternal, "an option of no type");
}

[[noreturn]] void fail(const std::string& pointer, const Json& found, const std::string& expected) {
  throw Error(ExitCode::kRecipe,
              fmt::format("{}: found {}, expected {}", pointer.empty() ? "top level" : pointer,
                          describe(found), expected));
}

/// An integer, also one that is written as 1e3 or 8.0 (draft-07 calls those integers too).
std::optional<std::int64_t> as_integer(const Json& value) {
  constexpr auto kLargest = std::numeric_limits<std::int64_t>::max();
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(kLargest)) {
    return std::nullopt;
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (number != std::floor(number) || std::abs(number) >= 9007199254740992.0) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

/// One value that is no list; `type` is a scalar type.
Json resolve_scalar(const Option& option, OptionType type, const Json& given,
                    const std::string& pointer) {
  const std::string expected = option.type_text();
  const auto check_range = [&](double value) {
    const bool fits = (!option.minimum || value >= *option.minimum) &&
                      (!option.maximum || value <= *option.maximum) &&
                      (!option.exclusive_minimum || value > *option.exclusive_minimum) &&
                      (!option.exclusive_maximum || value < *option.exclusive_maximum);
    if (!fits) fail(pointer, given, expected);
  };
  switch (type) {
    case OptionType::kBoolean:
      if (!given.is_boolean()) fail(pointer, given, expected);
      return given;
    case OptionType::kInteger: {
      const auto value = as_integer(given);
      if (!value) fail(pointer, given, expected);
      check_range(static_cast<double>(*value));
      return *value;
    }
    case OptionType::kNumber:
      if (!given.is_number()) fail(pointer, given, expected);
      check_range(given.get<double>());
      return given.get<double>();
    default:
      break;
  }
  if (!given.is_string()) fail(pointer, given, expected);
  // A default outside the choices ("": none of them) is what a resolved recipe says.
  if (option.choices.empty() || given == option.default_value) return given;
  for (const std::string& choice : option.choices) {
    if (given == choice) return given;
  }
  const std::string nearest = nearest_name(given.get<std::string>(), option.choices);
  throw Error(ExitCode::kRecipe,
              fmt::format("{}: found {}, expected {}", pointer, describe(given), expected),
              nearest.empty() ? "" : fmt::format("did you mean \"{}\"?", nearest));
}

/// "\"mode\": \"static\" or \"auto\"", "training".
std::string companion_text(const Option::Companion& companion) {
  if (companion.values.empty()) return companion.option;
  return fmt::format("\"{}\": \"{}\"", companion.option, join(companion.values, "\" or \""));
}

/// Throws for a value beside which another option leaves `option` nothing to do.
void check_companions(const Option& option, const Json& resolved, const std::string& pointer) {
  for (const Option::Companion& companion : option.companions) {
    const Json& other = resolved.at(companion.option);
    const auto& values = companion.values;
    const bool is_there = values.empty()
                              ? !other.is_null()
                              : std::any_of(values.begin(), values.end(),
                                            [&](const auto& value) { return other == value; });
    if (is_there) continue;
    throw Error(ExitCode::kRecipe,
                fmt::format("{}: does nothing here, found {} = {}",
                            child_pointer(pointer, option.name), companion.option, describe(other)),
                fmt::format("leave it out, or use it with {}", companion_text(companion)));
  }
}

std::string number_text(double value) { return fmt::format("{:g}", value); }

/// " in [0, 1)", " of at least 1", ...
std::string range_text(const Option& option) {
  const bool has_low = option.minimum || option.exclusive_minimum;
  const bool has_high = option.maximum || option.exclusive_maximum;
  if (has_low && has_high) {
    return fmt::format(" in {}{}, {}{}", option.minimum ? '[' : '(',
                       number_text(option.minimum ? *option.minimum : *option.exclusive_minimum),
                       number_text(option.maximum ? *option.maximum : *option.exclusive_maximum),
                       option.maximum ? ']' : ')');
  }
  if (option.minimum) return " of at least " + number_text(*option.minimum);
  if (option.exclusive_minimum) return " above " + number_text(*option.exclusive_minimum);
  if (option.maximum) return " of at most " + number_text(*option.maximum);
  if (option.exclusive_maximum) return " below " + number_text(*option.exclusive_maximum);
  return "";
}

}  // namespace

std::string child_pointer(const std::string& pointer, const std::string& key) {
  std::string escaped;
  for (const char letter : key) {
    if (letter == '~') {
      escaped += "~0";
    } else if (letter == '/') {
      escaped += "~1";
    } else {
      escaped += letter;
    }
  }
  return pointer + "/" + escaped;
}

std::string child_pointer(const std::string& pointer, std::size_t index) {
  return pointer + "/" + std::to_string(index);
}

std::string describe(const Json& value) {
  constexpr std::size_t kLongest = 60;
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  if (value.is_object()) return "an object";
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (!value.is_string()) return text;
  if (text.size() <= kLongest) return "the string " + text;
  // Not in the middle of a UTF-8 character.
  std::size_t end = kLongest;
  while ((text[end] & 0xC0) == 0x80) --end;
  return "the string " + text.substr(0, end) + "...\"";
}

Option::Option(std::string name, OptionType type, Json default_value, std::string help)
    : name(std::move(name)),
      type(type),
      default_value(std::move(default_value)),
      help(std::move(help)) {}

Option& Option::required() {
  is_required = true;
  return *this;
}
Option& Option::at_least(double low) {
  minimum = low;
  return *this;
}
Option& Option::at_most(double high) {
  maximum = high;
  return *this;
}
Option& Option::above(double low) {
  exclusive_minimum = low;
  return *this;
}
Option& Option::below(double high) {
  exclusive_maximum = high;
  return *this;
}
Option& Option::one_of(std::vector<std::string> names) {
  choices = std::move(names);
  return *this;
}
Option& Option::fields(OptionTable nested) {
  table = std::make_shared<const OptionTable>(std::move(nested));
  return *this;
}

Option& Option::only_with(std::string other, std::vector<std::string> values) {
  companions.push_back({std::move(other), std::move(values)});
  return *this;
}

Json Option::resolve(const Json& given, const std::string& pointer) const {
  if (type == OptionType::kAny) return given;
  if (!is_required && given.is_null() && default_value.is_null()) return given;
  const TypeName& names = type_name(type);
  if (type == OptionType::kObject) {
    if (!given.is_object()) fail(pointer, given, names.one);
    return table ? table->resolve(given, pointer) : given;
  }
  if (names.item_type == nullptr) return resolve_scalar(*this, type, given, pointer);

  if (!given.is_array()) fail(pointer, given, type_text());
  Json list = Json::array();
  for (std::size_t i = 0; i < given.size(); ++i) {
    const std::string item_pointer = child_pointer(pointer, i);
    if (type == OptionType::kObjects) {
      if (!given[i].is_object()) fail(item_pointer, given[i], "an object");
      list.push_back(table ? table->resolve(given[i], item_pointer) : given[i]);
      continue;
    }
    const OptionType item = type == OptionType::kNumbers    ? OptionType::kNumber
                            : type == OptionType::kIntegers ? OptionType::kInteger
                                                            : OptionType::kString;
    list.push_back(resolve_scalar(*this, item, given[i], item_pointer));
  }
  return list;
}

std::string Option::type_text() const {
  std::string text = type_name(type).one;
  if (!choices.empty()) {
    text = (type == OptionType::kStrings ? "a list of " : "one of ") + join(choices, ", ");
  }
  return text + range_text(*this);
}

std::string Option::help_text() const {
  std::string text = help;
  for (const Companion& companion : companions) {
    const bool is_first = &companion == &companions.front();
    text += (is_first ? " (only with " : " and ") + companion_text(companion);
  }
  return companions.empty() ? text : text + ")";
}

Json Option::schema() const {
  const TypeName& names = type_name(type);
  const bool may_be_null = !is_required && default_value.is_null();
  Json schema = Json::object();
  if (table && type == OptionType::kObject) schema = table->schema();
  schema["description"] = help_text();
  if (names.json_type != nullptr) {
    schema["type"] = may_be_null ? Json{names.json_type, "null"} : Json(names.json_type);
  }
  if (!is_required && !default_value.is_null()) schema["default"] = default_value;

  Json bounds = Json::object();
  if (names.item_type != nullptr) bounds["type"] = names.item_type;
  if (table && type == OptionType::kObjects) bounds = table->schema();
  if (minimum) bounds["minimum"] = *minimum;
  if (maximum) bounds["maximum"] = *maximum;
  if (exclusive_minimum) bounds["exclusiveMinimum"] = *exclusive_minimum;
  if (exclusive_maximum) bounds["exclusiveMaximum"] = *exclusive_maximum;
  if (!choices.empty()) {
    Json& allowed = bounds["enum"];
    allowed = choices;
    const bool is_extra = names.item_type == nullptr && !is_required &&
                          std::find(allowed.begin(), allowed.end(), default_value) == allowed.end();
    if (is_extra) allowed.push_back(default_value);
  }
  if (names.item_type != nullptr) {
    schema["items"] = bounds;
  } else {
    schema.update(bounds);
  }
  return schema;
}

Option& OptionTable::add(Option option) {
  options_.push_back(std::move(option));
  return options_.back();
}

const Option* OptionTable::find(const std::string& name) const {
  for (const Option& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

Json OptionTable::resolve(const Json& given, const std::string& pointer,
                          const std::vector<std::string>& also_allowed) const {
  if (!given.is_object()) fail(pointer, given, "an object");
  std::vector<std::string> known = also_allowed;
  for (const Option& option : options_) known.push_back(option.name);

  Json resolved = Json::object();
  for (const auto& [key, value] : given.items()) {
    if (const Option* option = find(key)) {
      resolved[key] = option->resolve(value, child_pointer(pointer, key));
    } else if (std::find(also_allowed.begin(), also_allowed.end(), key) != also_allowed.end()) {
      resolved[key] = value;
    } else {
      const std::string nearest = nearest_name(key, known);
      throw Error(ExitCode::kRecipe, child_pointer(pointer, key) + ": unknown key",
                  nearest.empty() ? "known here: " + join(known, ", ")
                                  : fmt::format("did you mean \"{}\"?", nearest));
    }
  }
  for (const Option& option : options_) {
    if (resolved.contains(option.name)) continue;
    if (option.is_required) {
      throw Error(ExitCode::kRecipe,
                  fmt::format("{}: missing, expected {}", child_pointer(pointer, option.name),
                              option.type_text()));
    }
    const bool is_nested = option.table && option.default_value.is_object();
    resolved[option.name] =
        is_nested ? option.table->resolve(option.default_value, child_pointer(pointer, option.name))
                  : option.default_value;
  }
  for (const Option& option : options_) {
    const bool is_nested = option.table && option.default_value.is_object();
    const Json unchanged =
        is_nested ? option.table->resolve(option.default_value, pointer) : option.default_value;
    if (resolved[option.name] != unchanged) check_companions(option, resolved, pointer);
  }
  return resolved;
}

Json OptionTable::schema() const {
  Json properties = Json::object();
  Json required = Json::array();
  for (const Option& option : options_) {
    properties[option.name] = option.schema();
    if (option.is_required) required.push_back(option.name);
  }
  Json schema = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = required;
  return schema;
}

Json OptionTable::to_json() const {
  Json list = Json::array();
  for (const Option& option : options_) {
    Json entry = {{"name", option.name},
                  {"type", type_name(option.type).name},
                  {"default", option.default_value},
                  {"help", option.help},
                  {"required", option.is_required}};
    if (option.minimum) entry["minimum"] = *option.minimum;
    if (option.maximum) entry["maximum"] = *option.maximum;
    if (option.exclusive_minimum) entry["exclusive_minimum"] = *option.exclusive_minimum;
    if (option.exclusive_maximum) entry["exclusive_maximum"] = *option.exclusive_maximum;
    if (!option.choices.empty()) entry["choices"] = option.choices;
    if (option.table) entry["fields"] = option.table->to_json();
    for (const Option::Companion& companion : option.companions)
      entry["only_with"].push_back({{"option", companion.option}, {"values", companion.values}});
    list.push_back(std::move(entry));
  }
  return list;
}

OptionTable OptionTable::from_json(const Json& json) {
  const auto bound = [](const Json& entry, const char* key) {
    return entry.contains(key) ? std::optional<double>(entry.at(key).get<double>()) : std::nullopt;
  };
  OptionTable table;
  for (const Json& entry : json) {
    const auto type = entry.at("type").get<std::string>();
    const auto* names = std::find_if(kTypes.begin(), kTypes.end(),
                                     [&](const TypeName& known) { return type == known.name; });
    if (names == kTypes.end()) throw Error(ExitCode::kInternal, "no option type " + type);
    Option option(entry.at("name"), names->type, entry.at("default"), entry.at("help"));
    option.is_required = entry.at("required");
    option.minimum = bound(entry, "minimum");
    option.maximum = bound(entry, "maximum");
    option.exclusive_minimum = bound(entry, "exclusive_minimum");
    option.exclusive_maximum = bound(entry, "exclusive_maximum");
    if (entry.contains("choices")) option.one_of(entry.at("choices"));
    if (entry.contains("fields")) option.fields(from_json(entry.at("fields")));
    for (const Json& companion : entry.value("only_with", Json::array()))
      option.only_with(companion.at("option"), companion.at("values"));
    table.add(std::move(option));
  }
  return table;
}

}  // namespace edgecompress
