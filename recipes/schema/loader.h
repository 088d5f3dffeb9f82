// The work of LoadRecipeText: one object, one recipe. Internal to recipes/schema.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "recipes/schema/load.h"
#include "recipes/schema/properties.h"
#include "recipes/schema/yaml_tree.h"

namespace atl::recipes {

// Collects what a file and --set say of each property, then applies it weakest first: nested keys,
// dotted keys, --set. Used once, by one thread.
class Loader {
 public:
  explicit Loader(std::string file_name) : file_(std::move(file_name)) {}

  void ReadFileText(std::string_view text);
  void ReadOverride(const std::string& override_text);
  // Applies everything, checks what holds between properties, and sorts the problems.
  LoadResult Finish();

 private:
  enum Level { kNested, kDotted, kSet };
  struct Setting {
    const Property* property = nullptr;
    std::string written;  // the key as the recipe has it
    Level level = kNested;
    int line = 0;  // 0 for --set
    Value value;
  };

  void ReadRoot(const YamlNode& root);
  void Walk(Place place, const YamlNode& map, const std::string& prefix, bool dotted);
  void ReadEntry(Place place, const YamlNode::Entry& entry, const std::string& path, Level level);
  // Also marks what was probably meant as broken, so that no check blames its default.
  void Unknown(Place place, const YamlNode::Entry& entry, const std::string& prefix);
  // The node that holds a parameter's value: itself, or the `default` of a documented one; null
  // after a problem.
  const YamlNode* Undocumented(const Property& property, const YamlNode& node,
                               const std::string& path, int line);
  void ReadTheirs(const Property& property, const YamlNode& node, const std::string& path,
                  int line);
  void ReadSweep(const YamlNode& sweep);
  bool ReadInto(const Property& property, const YamlNode& node, const std::string& path, int line,
                Value* value);
  void Set(Setting setting);
  // Reports keys that stand twice in one mapping, and returns the tree without the later ones.
  YamlNode WithoutDuplicates(const YamlNode& node, const std::string& path);

  void MarkBroken(Place place, const std::string& key_or_section);
  void Problem(int line, const std::string& message);
  void Note(int line, std::string message);
  void NoteUnused();
  void CheckTogether();

  const std::string file_;
  bool in_override_ = false;
  Recipe recipe_;
  std::vector<Setting> settings_;
  std::map<const Property*, Setting> applied_;  // the strongest of each property
  std::set<const Property*> broken_;            // with problems of their own
  std::vector<atl::recipes::Problem> problems_;
  std::vector<atl::recipes::Problem> notes_;
  size_t problems_left_out_ = 0;
  bool has_parameters_ = true;  // false: they could not be read, so defaults say nothing
};

}  // namespace atl::recipes
