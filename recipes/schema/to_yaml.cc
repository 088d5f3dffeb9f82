#include <map>

#include "absl/strings/str_cat.h"
#include "recipes/schema/load.h"
#include "recipes/schema/properties.h"

namespace atl::recipes {
namespace {

// Writes `key: value` for a dotted key, opening the mappings that are not open yet. The table of
// properties keeps those of one mapping together.
class Writer {
 public:
  void Write(const std::string& dotted, const std::string& value) {
    std::vector<std::string> path;
    for (size_t start = 0; start <= dotted.size();) {
      const size_t dot = std::min(dotted.find('.', start), dotted.size());
      path.push_back(dotted.substr(start, dot - start));
      start = dot + 1;
    }
    size_t shared = 0;
    while (shared < open_.size() && shared + 1 < path.size() && open_[shared] == path[shared]) {
      ++shared;
    }
    open_.resize(shared);
    for (; open_.size() + 1 < path.size(); open_.push_back(path[open_.size()])) {
      absl::StrAppend(&text_, std::string(2 * open_.size(), ' '), path[open_.size()], ":\n");
    }
    absl::StrAppend(&text_, std::string(2 * open_.size(), ' '), path.back(), ": ", value, "\n");
  }

  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
  std::vector<std::string> open_;
};

}  // namespace

std::string ToYaml(const Recipe& recipe) {
  Writer writer;
  for (const Property& property : Properties()) {
    if (!property.IsAtolls()) continue;
    const std::string prefix = property.place == Place::kParameters ? "parameters." : "";
    writer.Write(prefix + property.key, FormatValue(property.read(recipe)));
  }
  return writer.Take();
}

}  // namespace atl::recipes
