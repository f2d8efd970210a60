// Options declared once: parsing, defaults, ranges, help, JSON Schema and the README's table all
// come from one declaration.
//
//   struct PruneOptions { double ratio = 0.5; std::string scope = "layer"; };
//   Options<PruneOptions> options() {
//     Options<PruneOptions> o;
//     o.add("ratio", &PruneOptions::ratio, "share of the weights set to zero")
//         .at_least(0).below(1);
//     o.add("scope", &PruneOptions::scope, "rank per layer or over all")
//         .one_of({"layer", "global"});
//     return o;
//   }
//
// The default is the member's own initialiser, or that of the `defaults` given to Options. A member
// of type std::optional has none.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace edgecompress {

using Json = nlohmann::json;

class OptionTable;

/// The JSON pointer (RFC 6901) of member `key`, or of element `index`, of what `pointer` points at.
std::string child_pointer(const std::string& pointer, const std::string& key);
std::string child_pointer(const std::string& pointer, std::size_t index);
/// A value as an error message shows it: "1.5", "the string \"x\"", "a list of 3".
std::string describe(const Json& value);

enum class OptionType {
  kBoolean,
  kInteger,
  kNumber,
  kString,
  kStrings,
  kNumbers,
  kIntegers,
  kObject,
  kObjects,
  kAny
};

/// What is known of one option; setters chain.
class Option {
 public:
  Option(std::string name, OptionType type, Json default_value, std::string help);

  Option& required();
  Option& at_least(double low);
  Option& at_most(double high);
  Option& above(double low);   ///< exclusive
  Option& below(double high);  ///< exclusive
  Option& one_of(std::vector<std::string> choices);
  Option& fields(OptionTable table);  ///< of an object, or of each object in a list
  /// Does something only where the option `other` beside it has one of `values`; without values,
  /// where it is given at all. Any other value than the default is an error elsewhere.
  Option& only_with(std::string other, std::vector<std::string> values = {});

  /// The value with nested defaults filled in. Throws Error(kRecipe) that names `pointer`.
  Json resolve(const Json& given, const std::string& pointer) const;
  Json schema() const;
  /// "number in [0, 1)", "one of layer, global", ...
  std::string type_text() const;
  /// What it is for, and beside which other options.
  std::string help_text() const;

  std::string name;
  OptionType type;
  Json default_value;  ///< null: none
  std::string help;
  bool is_required = false;
  std::optional<double> minimum, maximum, exclusive_minimum, exclusive_maximum;
  std::vector<std::string> choices;
  std::shared_ptr<const OptionTable> table;  ///< of kObject and kObjects; null: any keys

  struct Companion {
    std::string option;
    std::vector<std::string> values;
  };
  std::vector<Companion> companions;  ///< every one of them is needed
};

/// A set of options: the keys that one JSON object may have.
class OptionTable {
 public:
  Option& add(Option option);
  const std::vector<Option>& options() const { return options_; }
  const Option* find(const std::string& name) const;

  /// `given` with every default filled in and every value checked. An unknown key, a wrong type
  /// or a value out of range throws Error(kRecipe) with the JSON pointer, what was found, what is
  /// expected and, for an unknown key, the nearest known one. Keys in `also_allowed` are copied
  /// through unchecked ("pass" and "gate" beside a pass's own options).
  Json resolve(const Json& given, const std::string& pointer,
               const std::vector<std::string>& also_allowed = {}) const;
  /// A JSON Schema (draft-07) object for this table.
  Json schema() const;

  /// The table itself as data and back, so that a program can know a pass's options without the
  /// code of the pass.
  Json to_json() const;
  static OptionTable from_json(const Json& json);

 private:
  std::vector<Option> options_;
};

namespace detail {
template <class V>
struct TypeOf;
template <>
struct TypeOf<bool> {
  static constexpr OptionType value = OptionType::kBoolean;
};
template <>
struct TypeOf<std::int64_t> {
  static constexpr OptionType value = OptionType::kInteger;
};
template <>
struct TypeOf<double> {
  static constexpr OptionType value = OptionType::kNumber;
};
template <>
struct TypeOf<std::string> {
  static constexpr OptionType value = OptionType::kString;
};
template <>
struct TypeOf<std::vector<std::string>> {
  static constexpr OptionType value = OptionType::kStrings;
};
template <>
struct TypeOf<std::vector<double>> {
  static constexpr OptionType value = OptionType::kNumbers;
};
template <>
struct TypeOf<std::vector<std::int64_t>> {
  static constexpr OptionType value = OptionType::kIntegers;
};
template <>
struct TypeOf<Json> {
  static constexpr OptionType value = OptionType::kAny;
};
template <class V>
struct TypeOf<std::optional<V>> : TypeOf<V> {};

template <class V>
Json to_json(const V& value) {
  return Json(value);
}
template <class V>
Json to_json(const std::optional<V>& value) {
  return value ? Json(*value) : Json();
}
template <class V>
void from_json(const Json& json, V& out) {
  out = json.get<V>();
}
template <class V>
void from_json(const Json& json, std::optional<V>& out) {
  if (json.is_null())
    out.reset();
  else
    out = json.get<V>();
}
}  // namespace detail

/// An OptionTable bound to the members of a plain struct `T`.
template <class T>
class Options {
 public:
  explicit Options(T defaults = T{}) : defaults_(std::move(defaults)) {}

  /// A plain value. The reference stays valid until the next add.
  template <class V>
  Option& add(const std::string& name, V T::*member, const std::string& help) {
    binders_.push_back([name, member](const Json& resolved, T& out) {
      detail::from_json(resolved.at(name), out.*member);
    });
    return table_.add(
        Option(name, detail::TypeOf<V>::value, detail::to_json(defaults_.*member), help));
  }
  /// A nested struct with options of its own. Absent: the nested defaults.
  template <class V>
  Option& add(const std::string& name, V T::*member, const Options<V>& nested,
              const std::string& help) {
    binders_.push_back([name, member, nested](const Json& resolved, T& out) {
      out.*member = nested.bind(resolved.at(name));
    });
    return table_.add(
        Option(name, OptionType::kObject, Json::object(), help).fields(nested.table()));
  }
  /// The same, but absent or null means "not given".
  template <class V>
  Option& add(const std::string& name, std::optional<V> T::*member, const Options<V>& nested,
              const std::string& help) {
    binders_.push_back([name, member, nested](const Json& resolved, T& out) {
      if (resolved.at(name).is_null())
        (out.*member).reset();
      else
        out.*member = nested.bind(resolved.at(name));
    });
    return table_.add(Option(name, OptionType::kObject, Json(), help).fields(nested.table()));
  }

  /// The options of a struct that `T` holds, at this table's own level: what several passes share.
  template <class V>
  void splice(V T::*member, const Options<V>& nested) {
    binders_.push_back(
        [member, nested](const Json& resolved, T& out) { out.*member = nested.bind(resolved); });
    for (const Option& option : nested.table().options()) table_.add(option);
  }
  /// A list of nested structs, each with options of its own.
  template <class V>
  Option& add(const std::string& name, std::vector<V> T::*member, const Options<V>& nested,
              const std::string& help) {
    binders_.push_back([name, member, nested](const Json& resolved, T& out) {
      (out.*member).clear();
      for (const Json& item : resolved.at(name)) (out.*member).push_back(nested.bind(item));
    });
    return table_.add(
        Option(name, OptionType::kObjects, Json::array(), help).fields(nested.table()));
  }

  const OptionTable& table() const { return table_; }
  /// From JSON that table().resolve() returned.
  T bind(const Json& resolved) const {
    T out = defaults_;
    for (const auto& binder : binders_) binder(resolved, out);
    return out;
  }
  T parse(const Json& given, const std::string& pointer) const {
    return bind(table_.resolve(given, pointer));
  }

 private:
  T defaults_;
  OptionTable table_;
  std::vector<std::function<void(const Json&, T&)>> binders_;
};

}  // namespace edgecompress
