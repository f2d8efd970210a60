#include "model/layer_filter.h"

#include <algorithm>

#include "edgecompress/error.h"

namespace edgecompress {
namespace {

// std::regex recurses by the length of expression and text: both come from files.
constexpr std::size_t kMaxExpression = 256;
constexpr std::size_t kMaxName = 1024;

// One that backtracks takes exponential time where it is told to, as by "(a|aa)*b". The other way
// knows no back-references, which layer names have no need of.
#ifdef __GLIBCXX__
constexpr auto kSyntax = std::regex::ECMAScript | std::regex_constants::__polynomial;
#else
constexpr auto kSyntax = std::regex::ECMAScript;
#endif

std::vector<std::regex> compile(const std::vector<std::string>& expressions,
                                const std::string& option) {
  std::vector<std::regex> compiled;
  for (std::size_t i = 0; i < expressions.size(); ++i) {
    const std::string where = option + "/" + std::to_string(i) + ": ";
    if (expressions[i].size() > kMaxExpression) {
      throw Error(ExitCode::kRecipe,
                  where + "an expression of " + std::to_string(expressions[i].size()) +
                      " characters; at most " + std::to_string(kMaxExpression) + " are allowed",
                  "list several shorter ones");
    }
    try {
      compiled.emplace_back(expressions[i], kSyntax);
    } catch (const std::regex_error& error) {
      throw Error(ExitCode::kRecipe,
                  where + "'" + expressions[i] + "' is not a regular expression: " + error.what(),
                  "expected an ECMAScript expression on layer names, such as \"^layer1\\\\.\"");
    }
  }
  return compiled;
}

bool any_matches(const std::vector<std::regex>& expressions, const std::string& name) {
  return std::any_of(expressions.begin(), expressions.end(), [&](const std::regex& expression) {
    return std::regex_search(name, expression);
  });
}

}  // namespace

LayerFilter::LayerFilter(const std::vector<std::string>& include,
                         const std::vector<std::string>& exclude, const std::string& include_name)
    : include_(compile(include, include_name)), exclude_(compile(exclude, "exclude")) {}

bool LayerFilter::accepts(const std::string& layer_name) const {
  const std::string name = layer_name.substr(0, kMaxName);
  return (include_.empty() || any_matches(include_, name)) && !any_matches(exclude_, name);
}

}  // namespace edgecompress
