// The one table of properties: key, type, default, bounds and doc of everything a recipe may say.
//
// Reading, validation, `atoll recipe explain`, the resolved YAML and docs/recipe.md are all made
// from it. Defaults are those of struct Recipe.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "recipes/schema/recipe.h"
#include "recipes/schema/values.h"

namespace atl::recipes {

enum class Type {
  kText,   // one line
  kLines,  // text of any number of lines
  kBool,
  kInteger,
  kNumber,
  kEnum,      // text, one of `options`
  kIntegers,  // a list
  kTexts,     // a list of one-line texts
  kTextMap,   // Transformer Lab's `envs`: names to plain values
  kSweep,     // Transformer Lab's `sweep_config`: keys of parameters to lists of values
};

// Where a key stands in the file.
enum class Place { kRoot, kParameters };

struct Bounds {
  double min = -std::numeric_limits<double>::infinity();  // of a number, or of each of a list
  double max = std::numeric_limits<double>::infinity();
  bool min_open = false;  // the bound itself is out
  bool max_open = false;
  int length_min = 0;  // of a text in bytes, or of a list
  int length_max = 0;
  std::vector<std::string> options;
};

struct Property {
  std::string key;  // dotted; below `parameters` for Place::kParameters
  Place place = Place::kParameters;
  Type type = Type::kText;
  Bounds bounds;
  std::string doc;
  std::vector<std::string> aliases;  // other keys of the same property
  bool required = false;
  // Null for what is Transformer Lab's: checked, kept out of Recipe, and reported as not acted on.
  std::function<Value(const Recipe&)> read;
  std::function<void(Recipe&, const Value&)> write;
  // When the property has a meaning: "model.kind: cnn" and its test; no test means always.
  std::string used_with;
  std::function<bool(const Recipe&)> used;

  bool IsAtolls() const { return static_cast<bool>(read); }
  // As FormatValue writes it; "" for what is required or Transformer Lab's.
  std::string DefaultText() const;
};

// In the order of the docs and of the resolved YAML. Never changes; safe to read from any thread.
const std::vector<Property>& Properties();

// By key or alias, or null.
const Property* FindProperty(Place place, const std::string& key);

// Whether keys begin with `prefix` and a dot: "train", "train.optimizer".
bool IsSection(Place place, const std::string& prefix);

// The last parts of the keys and aliases right under `prefix` ("" for the top): "optimizer",
// "batch_size".
std::vector<std::string> KeysUnder(Place place, const std::string& prefix);

// "> 0 and <= 100", "one of sgd, adam, adamw", "a list of 2 whole numbers, each from 1 to 4096".
std::string BoundsText(const Property& property);
std::string TypeText(Type type);

// Reads and checks a value; on failure returns false and why: "must be > 0 and <= 100".
bool ReadValue(const Property& property, const YamlNode& node, Value* value, std::string* why);

}  // namespace atl::recipes
