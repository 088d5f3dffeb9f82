#include "recipes/schema/properties.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "recipes/schema/property_table.h"

namespace atl::recipes {
namespace {

std::string Plain(double bound) {
  if (bound == static_cast<double>(static_cast<int64_t>(bound))) {
    return absl::StrCat(static_cast<int64_t>(bound));
  }
  return absl::StrCat(bound);
}

std::string RangeText(const Bounds& bounds, const char* unit) {
  if (!bounds.min_open && !bounds.max_open) {
    return absl::StrCat(unit, "from ", Plain(bounds.min), " to ", Plain(bounds.max));
  }
  return absl::StrCat(unit, bounds.min_open ? "> " : ">= ", Plain(bounds.min), " and ",
                      bounds.max_open ? "< " : "<= ", Plain(bounds.max));
}

bool InRange(const Bounds& bounds, double number) {
  return (bounds.min_open ? number > bounds.min : number >= bounds.min) &&
         (bounds.max_open ? number < bounds.max : number <= bounds.max);
}

bool ReadTextValue(const Property& property, const YamlNode& node, Value* value, std::string* why) {
  const std::optional<std::string> text = ReadText(node);
  if (!text) {
    *why = node.IsScalar() ? "must be text; put it in quotes" : "must be text";
    return false;
  }
  if (property.type == Type::kText && !IsPlainText(*text)) {
    *why = "must be one line of text, without control characters";
    return false;
  }
  if (FirstNotUtf8(*text) != std::string::npos) {
    *why = "must be UTF-8 text";
    return false;
  }
  const int64_t length = static_cast<int64_t>(text->size());
  if (length < property.bounds.length_min || length > property.bounds.length_max) {
    *why = absl::StrCat("must be ", BoundsText(property));
    return false;
  }
  *value = *text;
  return true;
}

bool ReadEnumValue(const Property& property, const YamlNode& node, Value* value, std::string* why) {
  const std::vector<std::string>& options = property.bounds.options;
  if (node.IsScalar() && std::find(options.begin(), options.end(), node.text) != options.end()) {
    *value = node.text;
    return true;
  }
  *why = absl::StrCat("must be ", BoundsText(property));
  const std::string nearest = node.IsScalar() ? Nearest(node.text, options) : "";
  if (!nearest.empty() && options.size() > 1) absl::StrAppend(why, "; did you mean ", nearest, "?");
  return false;
}

bool ReadIntegersValue(const Property& property, const YamlNode& node, Value* value,
                       std::string* why) {
  *why = absl::StrCat("must be ", BoundsText(property));
  if (!node.IsSequence()) return false;
  const int64_t length = static_cast<int64_t>(node.items.size());
  if (length < property.bounds.length_min || length > property.bounds.length_max) return false;
  std::vector<int64_t> list;
  for (const YamlNode& item : node.items) {
    const std::optional<int64_t> integer = ReadInteger(item);
    if (!integer || !InRange(property.bounds, static_cast<double>(*integer))) return false;
    list.push_back(*integer);
  }
  *value = std::move(list);
  return true;
}

bool ReadTextsValue(const Property& property, const YamlNode& node, Value* value,
                    std::string* why) {
  constexpr size_t kTextBytesMax = 256;
  *why = absl::StrCat("must be ", BoundsText(property));
  if (!node.IsSequence() || static_cast<int>(node.items.size()) > property.bounds.length_max)
    return false;
  std::vector<std::string> list;
  for (const YamlNode& item : node.items) {
    std::optional<std::string> text = ReadText(item);
    if (!text || text->empty() || text->size() > kTextBytesMax || !IsPlainText(*text)) return false;
    list.push_back(*std::move(text));
  }
  *value = std::move(list);
  return true;
}

}  // namespace

std::string Property::DefaultText() const {
  if (!IsAtolls() || required) return "";
  return FormatValue(read(Recipe()));
}

const std::vector<Property>& Properties() {
  static const std::vector<Property>* const table = new std::vector<Property>(PropertyTable());
  return *table;
}

const Property* FindProperty(Place place, const std::string& key) {
  for (const Property& property : Properties()) {
    if (property.place != place) continue;
    const auto& aliases = property.aliases;
    if (property.key == key || std::find(aliases.begin(), aliases.end(), key) != aliases.end()) {
      return &property;
    }
  }
  return nullptr;
}

bool IsSection(Place place, const std::string& prefix) {
  return std::any_of(Properties().begin(), Properties().end(), [&](const Property& property) {
    return property.place == place && property.key.starts_with(prefix + ".");
  });
}

std::vector<std::string> KeysUnder(Place place, const std::string& prefix) {
  const std::string start = prefix.empty() ? "" : prefix + ".";
  std::vector<std::string> keys;
  const auto add = [&](const std::string& key) {
    if (!key.starts_with(start)) return;
    const std::string next = key.substr(start.size(), key.find('.', start.size()) - start.size());
    if (std::find(keys.begin(), keys.end(), next) == keys.end()) keys.push_back(next);
  };
  for (const Property& property : Properties()) {
    if (property.place != place) continue;
    add(property.key);
    for (const std::string& alias : property.aliases) add(alias);
  }
  return keys;
}

std::string TypeText(Type type) {
  switch (type) {
    case Type::kText:
      return "text";
    case Type::kLines:
      return "lines of text";
    case Type::kBool:
      return "true or false";
    case Type::kInteger:
      return "whole number";
    case Type::kNumber:
      return "number";
    case Type::kEnum:
      return "choice";
    case Type::kIntegers:
      return "list of whole numbers";
    case Type::kTexts:
      return "list of texts";
    case Type::kTextMap:
      return "names with values";
    case Type::kSweep:
      return "keys with lists";
  }
  return "";
}

std::string BoundsText(const Property& property) {
  const Bounds& bounds = property.bounds;
  switch (property.type) {
    case Type::kText:
    case Type::kLines:
      return bounds.length_min > 0
                 ? absl::StrCat("text of ", bounds.length_min, " to ", bounds.length_max, " bytes")
                 : absl::StrCat("text of at most ", bounds.length_max, " bytes");
    case Type::kBool:
      return "true or false";
    case Type::kInteger:
      return RangeText(bounds, "a whole number ");
    case Type::kNumber:
      return RangeText(bounds, "");
    case Type::kEnum:
      return bounds.options.size() == 1
                 ? bounds.options[0]
                 : absl::StrCat("one of ", absl::StrJoin(bounds.options, ", "));
    case Type::kIntegers:
      return absl::StrCat("a list of ",
                          bounds.length_min == bounds.length_max
                              ? absl::StrCat(bounds.length_min)
                              : absl::StrCat(bounds.length_min, " to ", bounds.length_max),
                          " whole numbers, each ", RangeText(bounds, ""));
    case Type::kTexts:
      return absl::StrCat("a list of at most ", bounds.length_max,
                          " texts, each of 1 to 256 bytes on one line");
    case Type::kTextMap:
      return "a mapping of names to plain values";
    case Type::kSweep:
      return "a mapping of keys of parameters to lists of values";
  }
  return "";
}

bool ReadValue(const Property& property, const YamlNode& node, Value* value, std::string* why) {
  switch (property.type) {
    case Type::kText:
    case Type::kLines:
      return ReadTextValue(property, node, value, why);
    case Type::kEnum:
      return ReadEnumValue(property, node, value, why);
    case Type::kIntegers:
      return ReadIntegersValue(property, node, value, why);
    case Type::kTexts:
      return ReadTextsValue(property, node, value, why);
    case Type::kBool:
      *why = "must be true or false";
      if (const std::optional<bool> boolean = ReadBool(node)) {
        *value = *boolean;
        return true;
      }
      return false;
    case Type::kInteger:
    case Type::kNumber: {
      *why = absl::StrCat("must be ", property.type == Type::kNumber ? "a number " : "",
                          BoundsText(property));
      if (property.type == Type::kInteger) {
        const std::optional<int64_t> integer = ReadInteger(node);
        if (!integer || !InRange(property.bounds, static_cast<double>(*integer))) return false;
        *value = *integer;
        return true;
      }
      const std::optional<double> number = ReadNumber(node);
      if (!number) return false;
      *why = absl::StrCat("must be ", BoundsText(property));
      if (!InRange(property.bounds, *number)) return false;
      *value = *number;
      return true;
    }
    case Type::kTextMap:
    case Type::kSweep:
      break;  // their parts have lines of their own: checked by the loader
  }
  *why = "is not a single value";
  return false;
}

}  // namespace atl::recipes
