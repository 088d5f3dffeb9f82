#include "recipes/schema/loader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "recipes/schema/checks.h"

namespace atl::recipes {
namespace {

constexpr size_t kProblemsMax = 100;
constexpr const char* kDocumentedTypes[] = {"int", "float", "bool", "enum", "string"};
constexpr const char* kDocumentedKeys[] = {"type",  "default", "min",  "max",       "step",
                                           "title", "options", "enum", "ui_widget", "description"};
constexpr const char* kSecretText =
    "a secret cannot stand here: Atoll reads the recipe as it is written, and none of these "
    "properties is secret";

std::string Join(const std::string& prefix, const std::string& key) {
  return prefix.empty() ? key : absl::StrCat(prefix, ".", key);
}

template <typename List>
bool Contains(const List& list, const std::string& text) {
  return std::any_of(std::begin(list), std::end(list),
                     [&](const auto& one) { return text == one; });
}

std::string DidYouMean(const std::string& suggestion) {
  return suggestion.empty() ? "" : absl::StrCat("; did you mean ", suggestion, "?");
}

bool NodeHasSecret(const YamlNode& node) {
  return HasSecret(node.text) || std::any_of(node.items.begin(), node.items.end(), NodeHasSecret) ||
         std::any_of(node.entries.begin(), node.entries.end(),
                     [](const YamlNode::Entry& entry) { return NodeHasSecret(entry.value); });
}

// What a user hears of a key that is Transformer Lab's to act on.
std::string TheirsNote(const std::string& key) {
  if (key.starts_with("sweeps")) {
    return "sweeps are run by Transformer Lab; atoll uses the values under parameters";
  }
  if (key.starts_with("envs"))
    return "envs are set by Transformer Lab; atoll passes on its own environment";
  if (key == "setup") return "setup is run by Transformer Lab; atoll does not run it";
  if (key.starts_with("github_repo")) {
    return absl::StrCat(key, " is cloned by Transformer Lab; atoll uses the files that are there");
  }
  return absl::StrCat(key, " is for Transformer Lab; atoll does not act on it");
}

}  // namespace

void Loader::Problem(int line, const std::string& message) {
  if (problems_.size() >= kProblemsMax) {
    ++problems_left_out_;
    return;
  }
  problems_.push_back({in_override_ ? "--set" : file_, line, Printable(message)});
}

void Loader::Note(int line, std::string message) {
  const bool known = std::any_of(notes_.begin(), notes_.end(),
                                 [&](const auto& note) { return note.message == message; });
  if (!known) notes_.push_back({file_, line, std::move(message)});
}

void Loader::MarkBroken(Place place, const std::string& key_or_section) {
  for (const Property& property : Properties()) {
    if (&property == FindProperty(place, key_or_section) ||
        (property.place == place && property.key.starts_with(key_or_section + "."))) {
      broken_.insert(&property);
    }
  }
}

void Loader::ReadFileText(std::string_view text) {
  has_parameters_ = false;
  if (text.size() > kMaxRecipeBytes) {
    Problem(0, absl::StrCat("the recipe has ", text.size(), " bytes, at most ", kMaxRecipeBytes,
                            " are read"));
    return;
  }
  const size_t bad = FirstNotUtf8(text);
  if (bad != std::string_view::npos) {
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(bad), '\n');
    Problem(static_cast<int>(line), "a recipe is UTF-8 text; a byte here is not");
    return;
  }
  const YamlResult yaml = ParseYaml(text);
  if (!yaml.ok) {
    Problem(yaml.line, yaml.error);
    return;
  }
  ReadRoot(WithoutDuplicates(yaml.root, ""));
}

YamlNode Loader::WithoutDuplicates(const YamlNode& node, const std::string& path) {
  YamlNode clean = node;
  clean.entries.clear();
  clean.items.clear();
  std::map<std::string, int> lines;
  for (const YamlNode::Entry& entry : node.entries) {
    const std::string inner = Join(path, entry.key);
    const auto [first, is_new] = lines.emplace(entry.key, entry.line);
    if (!is_new) {
      Problem(entry.line, absl::StrCat(ShowText(inner), ": the key stands twice, first on line ",
                                       first->second));
      continue;
    }
    // Parameters are known by their keys from there on.
    const bool is_frame = inner == "parameters" || inner == "task" || inner == "task.parameters";
    clean.entries.push_back(
        {entry.key, entry.line, WithoutDuplicates(entry.value, is_frame ? "" : inner)});
  }
  for (const YamlNode& item : node.items) clean.items.push_back(WithoutDuplicates(item, path));
  return clean;
}

void Loader::ReadRoot(const YamlNode& document) {
  const YamlNode* root = &document;
  if (root->IsMap()) {
    const YamlNode* wrapped = root->Find("task");
    if (wrapped != nullptr && wrapped->IsMap()) {
      for (const YamlNode::Entry& entry : root->entries) {
        if (entry.key != "task") {
          Problem(entry.line, absl::StrCat(ShowText(entry.key),
                                           ": stands beside `task`, which wraps "
                                           "the whole recipe; move it inside"));
        }
      }
      root = wrapped;
    }
  }
  if (!root->IsMap()) {
    Problem(root->line, root->IsNull() ? "the recipe is empty; name and run are required"
                                       : "a recipe is a mapping of keys to values");
    return;
  }
  has_parameters_ = true;
  for (const YamlNode::Entry& entry : root->entries) {
    if (entry.key != "parameters") {
      ReadEntry(Place::kRoot, entry, entry.key, kNested);
    } else if (entry.value.IsMap()) {
      Walk(Place::kParameters, entry.value, "", false);
    } else if (!entry.value.IsNull()) {
      has_parameters_ = false;
      Problem(entry.line,
              absl::StrCat("parameters: ", Show(entry.value), " must be a mapping of sections"));
    }
  }
  for (const Property& property : Properties()) {
    if (property.required && root->Find(property.key) == nullptr) {
      broken_.insert(&property);
      Problem(0, absl::StrCat(property.key, ": is required"));
    }
  }
}

void Loader::Walk(Place place, const YamlNode& map, const std::string& prefix, bool dotted) {
  for (const YamlNode::Entry& entry : map.entries) {
    const bool has_dot = place == Place::kParameters && entry.key.find('.') != std::string::npos;
    ReadEntry(place, entry, Join(prefix, entry.key), dotted || has_dot ? kDotted : kNested);
  }
}

void Loader::ReadEntry(Place place, const YamlNode::Entry& entry, const std::string& path,
                       Level level) {
  const YamlNode& node = entry.value;
  // A dot in a key means a path under `parameters` only.
  const bool known_form = place == Place::kParameters ||
                          std::count(path.begin(), path.end(), '.') == 0 ||
                          entry.key.find('.') == std::string::npos;
  const Property* property = known_form ? FindProperty(place, path) : nullptr;
  if (property == nullptr) {
    if (!known_form || !IsSection(place, path)) {
      const std::string prefix =
          path.size() > entry.key.size() ? path.substr(0, path.size() - entry.key.size() - 1) : "";
      Unknown(place, entry, prefix);
    } else if (node.IsMap()) {
      if (path == "sweeps") Note(entry.line, TheirsNote(path));
      Walk(place, node, path, level == kDotted);
    } else if (!node.IsNull()) {
      MarkBroken(place, path);
      Problem(entry.line, absl::StrCat(path, ": ", Show(node), " must be a mapping, with ",
                                       absl::StrJoin(KeysUnder(place, path), ", ")));
    }
    return;
  }
  if (!property->IsAtolls()) {
    ReadTheirs(*property, node, path, entry.line);
    return;
  }
  const YamlNode* value_node = Undocumented(*property, node, path, entry.line);
  Value value;
  if (value_node == nullptr || !ReadInto(*property, *value_node, path, entry.line, &value)) {
    broken_.insert(property);
    return;
  }
  Set({property, path, level, entry.line, std::move(value)});
}

void Loader::Set(Setting setting) {
  for (Setting& earlier : settings_) {
    if (earlier.property != setting.property || earlier.level != setting.level) continue;
    if (setting.level == kSet) {
      earlier = std::move(setting);  // as in any command line, the last one counts
      return;
    }
    Problem(setting.line,
            absl::StrCat(
                setting.written, ": is set twice, first on line ", earlier.line,
                earlier.written == setting.written ? "" : absl::StrCat(" as ", earlier.written)));
    return;
  }
  settings_.push_back(std::move(setting));
}

void Loader::Unknown(Place place, const YamlNode::Entry& entry, const std::string& prefix) {
  const std::string path = Join(prefix, entry.key);
  std::string suggestion;
  if (place == Place::kRoot && prefix.empty()) {
    const std::string head = entry.key.substr(0, entry.key.find('.'));
    if (IsSection(Place::kParameters, head)) {
      MarkBroken(Place::kParameters, head);
      Problem(entry.line,
              absl::StrCat(ShowText(path), ": unknown key; it belongs under parameters"));
      return;
    }
    if (entry.key.find('.') != std::string::npos) {
      Problem(entry.line, absl::StrCat(ShowText(path),
                                       ": unknown key; dotted keys stand under parameters only"));
      return;
    }
    std::vector<std::string> candidates = KeysUnder(place, "");
    candidates.push_back("parameters");
    suggestion = Nearest(entry.key, candidates);
  } else if (entry.key == "<<") {
    Problem(entry.line, absl::StrCat(path, ": merge keys are not read; write the values out"));
    return;
  } else {
    const std::string nearest = Nearest(entry.key, KeysUnder(place, prefix));
    if (!nearest.empty()) suggestion = Join(prefix, nearest);
  }
  if (suggestion.empty()) {
    // Right name, wrong section; or a dotted key that is misspelt as a whole.
    std::vector<std::string> keys, elsewhere;
    for (const Property& property : Properties()) {
      if (property.place != place) continue;
      keys.push_back(property.key);
      const std::string last = entry.key.substr(entry.key.rfind('.') + 1);
      if (property.key.ends_with("." + last)) elsewhere.push_back(property.key);
    }
    suggestion = Nearest(path, keys);
    if (suggestion.empty() && elsewhere.size() == 1) suggestion = elsewhere[0];
    // Of several of that name, the one of the section that was meant.
    const std::string section = path.substr(0, path.find('.') + 1);
    for (const std::string& key : elsewhere) {
      if (suggestion.empty() && key.starts_with(section)) suggestion = key;
    }
  }
  if (!suggestion.empty()) MarkBroken(place, suggestion);
  Problem(entry.line, absl::StrCat(ShowText(path), ": unknown key", DidYouMean(suggestion)));
}

const YamlNode* Loader::Undocumented(const Property& property, const YamlNode& node,
                                     const std::string& path, int line) {
  if (!node.IsMap()) return &node;
  if (property.place == Place::kRoot) return &node;
  if (node.Find("field_name") != nullptr || node.Find("env_var") != nullptr) {
    Problem(line,
            absl::StrCat(path,
                         ": is asked for by Transformer Lab when it starts a job (field_name), "
                         "which Atoll does not; give it a value"));
    return nullptr;
  }
  const YamlNode* value = node.Find("default");
  if (value == nullptr) {
    Problem(line, absl::StrCat(path, ": must be ", BoundsText(property),
                               ", or a documented parameter with a default"));
    return nullptr;
  }
  bool fine = true;
  for (const YamlNode::Entry& entry : node.entries) {
    if (Contains(kDocumentedKeys, entry.key)) continue;
    const std::vector<std::string> known(std::begin(kDocumentedKeys), std::end(kDocumentedKeys));
    Problem(entry.line,
            absl::StrCat(ShowText(Join(path, entry.key)), ": unknown key of a documented parameter",
                         DidYouMean(Nearest(entry.key, known))));
    fine = false;
  }
  const YamlNode* type = node.Find("type");
  if (type != nullptr && !Contains(kDocumentedTypes, type->text)) {
    Problem(type->line, absl::StrCat(path, ".type: ", Show(*type), " must be one of ",
                                     absl::StrJoin(kDocumentedTypes, ", ")));
    fine = false;
  }
  const std::optional<double> number = ReadNumber(*value);
  for (const char* bound : {"min", "max"}) {
    const YamlNode* limit_node = node.Find(bound);
    if (limit_node == nullptr || limit_node->IsNull()) continue;
    const std::optional<double> limit = ReadNumber(*limit_node);
    const bool is_min = bound == std::string("min");
    if (!limit) {
      Problem(limit_node->line,
              absl::StrCat(path, ".", bound, ": ", Show(*limit_node), " must be a number"));
      fine = false;
    } else if (number && (is_min ? *number < *limit : *number > *limit)) {
      Problem(value->line,
              absl::StrCat(path, ".default: ", Show(*value), " must be ",
                           is_min ? ">= " : "<= ", Show(*limit_node), ", its own ", bound));
      fine = false;
    }
  }
  return fine ? value : nullptr;
}

bool Loader::ReadInto(const Property& property, const YamlNode& node, const std::string& path,
                      int line, Value* value) {
  if (property.key != "run" && NodeHasSecret(node)) {
    Problem(line, absl::StrCat(path, ": ", Show(node), ": ", kSecretText));
    return false;
  }
  std::string why;
  if (node.IsNull()) {
    Problem(line, absl::StrCat(path, ": has no value; must be ", BoundsText(property)));
    return false;
  }
  if (ReadValue(property, node, value, &why)) return true;
  Problem(line, absl::StrCat(path, ": ", Show(node), " ", why));
  return false;
}

void Loader::ReadTheirs(const Property& property, const YamlNode& node, const std::string& path,
                        int line) {
  if (node.IsNull()) return;  // Transformer Lab's forms leave such keys behind
  Note(line, TheirsNote(property.key));
  if (property.type == Type::kTextMap || property.type == Type::kSweep) {
    if (!node.IsMap()) {
      Problem(line, absl::StrCat(path, ": ", Show(node), " must be ", BoundsText(property)));
    } else if (property.type == Type::kSweep) {
      ReadSweep(node);
    } else {
      for (const YamlNode::Entry& entry : node.entries) {
        if (entry.value.IsScalar() || entry.value.IsNull()) continue;
        Problem(entry.line, absl::StrCat(ShowText(Join(path, entry.key)), ": ", Show(entry.value),
                                         " must be a plain value"));
      }
    }
    return;
  }
  Value value;
  std::string why;
  if (!ReadValue(property, node, &value, &why)) {
    Problem(line, absl::StrCat(path, ": ", Show(node), " ", why));
  }
}

void Loader::ReadSweep(const YamlNode& sweep) {
  for (const YamlNode::Entry& entry : sweep.entries) {
    const Property* property = FindProperty(Place::kParameters, entry.key);
    const std::string path = Join("sweeps.sweep_config", entry.key);
    if (property == nullptr) {
      std::vector<std::string> keys;
      for (const Property& one : Properties()) {
        if (one.place != Place::kParameters) continue;
        keys.push_back(one.key);
        keys.insert(keys.end(), one.aliases.begin(), one.aliases.end());
      }
      Problem(entry.line, absl::StrCat(ShowText(path), ": unknown parameter",
                                       DidYouMean(Nearest(entry.key, keys))));
    } else if (!entry.value.IsSequence() || entry.value.items.empty()) {
      Problem(entry.line,
              absl::StrCat(path, ": ", Show(entry.value), " must be a list of values to try"));
    } else {
      Value value;
      for (const YamlNode& item : entry.value.items)
        ReadInto(*property, item, path, item.line, &value);
    }
  }
}

void Loader::ReadOverride(const std::string& override_text) {
  in_override_ = true;
  const size_t equals = override_text.find('=');
  if (equals == std::string::npos || equals == 0) {
    Problem(0, absl::StrCat(ShowText(override_text), ": must be key=value"));
    in_override_ = false;
    return;
  }
  std::string key = override_text.substr(0, equals);
  if (key.starts_with("parameters.")) key = key.substr(std::string("parameters.").size());
  const std::string text = override_text.substr(equals + 1);
  Place place = Place::kParameters;
  const Property* property = FindProperty(place, key);
  if (property == nullptr) {
    property = FindProperty(Place::kRoot, key);
    if (property != nullptr) place = Place::kRoot;
  }
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = text;
  // The shell has taken the quotes off: for a property of text all of it is text.
  node.quoted =
      property != nullptr && (property->type == Type::kText || property->type == Type::kLines);
  Value value;
  if (property == nullptr) {
    YamlNode::Entry entry{key, 0, node};
    if (IsSection(place, key)) {
      Problem(0, absl::StrCat(key, ": is a section; set one of ",
                              absl::StrJoin(KeysUnder(place, key), ", "), " in it"));
    } else {
      Unknown(place, entry, "");
    }
  } else if (!property->IsAtolls()) {
    Problem(0, TheirsNote(property->key));
  } else {
    bool fine = true;
    if (property->type == Type::kIntegers || property->type == Type::kTexts) {
      const YamlResult yaml = ParseYaml(text);
      if (!yaml.ok) Problem(0, absl::StrCat(key, ": ", ShowText(text), ": ", yaml.error));
      fine = yaml.ok;
      node = yaml.root;
    }
    if (fine && ReadInto(*property, node, key, 0, &value)) {
      Set({property, key, kSet, 0, std::move(value)});
    } else {
      broken_.insert(property);
    }
  }
  in_override_ = false;
}

void Loader::NoteUnused() {
  for (const Property& property : Properties()) {
    const auto found = applied_.find(&property);
    if (!property.used || found == applied_.end() || property.used(recipe_)) continue;
    // With a value of 0 momentum is off, and any other is an error of its own.
    if (property.key == "train.optimizer.momentum") continue;
    if (property.read(recipe_) == property.read(Recipe())) continue;
    if (found->second.level == kSet) in_override_ = true;
    notes_.push_back({in_override_ ? "--set" : file_, found->second.line,
                      absl::StrCat(found->second.written, ": has no effect here: it is used with ",
                                   property.used_with, " only")});
    in_override_ = false;
  }
}

void Loader::CheckTogether() {
  for (const Check& check : Checks()) {
    bool skip = false;
    int line = 0;
    bool from_set = false;
    for (const std::string& key : check.keys) {
      const Property* property = FindProperty(Place::kParameters, key);
      if (broken_.contains(property)) skip = true;
      const auto found = applied_.find(property);
      if (found == applied_.end()) continue;
      // The key that is blamed tells the line; where it is a default, another that was written
      // does.
      if (line == 0) line = found->second.line;
      if (found->second.level == kSet) from_set = true;
    }
    if (skip) continue;
    const std::string why = check.broken(recipe_);
    if (why.empty()) continue;
    in_override_ = from_set;
    Problem(from_set ? 0 : line, absl::StrCat(check.keys[0], ": ", why));
    in_override_ = false;
  }
}

LoadResult Loader::Finish() {
  std::stable_sort(settings_.begin(), settings_.end(),
                   [](const Setting& a, const Setting& b) { return a.level < b.level; });
  for (Setting& setting : settings_) {
    setting.property->write(recipe_, setting.value);
    applied_[setting.property] = setting;
  }
  if (has_parameters_) CheckTogether();
  NoteUnused();

  const auto in_line_order = [](const auto& a, const auto& b) {
    const bool a_set = a.file == "--set", b_set = b.file == "--set";
    return std::pair(a_set, a.line) < std::pair(b_set, b.line);
  };
  std::stable_sort(problems_.begin(), problems_.end(), in_line_order);
  std::stable_sort(notes_.begin(), notes_.end(), in_line_order);
  if (problems_left_out_ > 0) {
    problems_.push_back({file_, 0, absl::StrCat("and ", problems_left_out_, " more problems")});
  }

  LoadResult result;
  result.recipe = std::move(recipe_);
  result.problems = std::move(problems_);
  result.notes = std::move(notes_);
  for (const Property& property : Properties()) {
    if (!property.IsAtolls()) continue;
    Origin origin{property.key, FormatValue(property.read(result.recipe)), std::string("default")};
    const auto found = applied_.find(&property);
    if (found != applied_.end()) {
      const Setting& setting = found->second;
      origin.source = setting.level == kSet ? "--set" : absl::StrCat(file_, ":", setting.line);
      if (setting.level == kDotted) absl::StrAppend(&origin.source, " (override)");
    }
    result.origins.push_back(std::move(origin));
  }
  return result;
}

}  // namespace atl::recipes
