// YAML as a tree with line numbers, read from yaml-cpp's events.
//
// yaml-cpp's own nodes share what aliases name and forget which scalars were quoted; this tree
// keeps both lines and quotes, copies aliases under a budget, and knows nothing of recipes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::recipes {

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  int line = 0;      // from 1
  std::string text;  // of a scalar, UTF-8
  bool quoted =
      false;  // a scalar that is text whatever it looks like: in quotes, a block, or tagged !!str
  std::vector<YamlNode> items;  // of a sequence
  std::vector<Entry> entries;   // of a map, in the order of the file, duplicates included

  bool IsNull() const { return kind == Kind::kNull; }
  bool IsScalar() const { return kind == Kind::kScalar; }
  bool IsMap() const { return kind == Kind::kMap; }
  bool IsSequence() const { return kind == Kind::kSequence; }
  // The first entry of a map with this key, or null.
  const YamlNode* Find(std::string_view key) const;
};

struct YamlNode::Entry {
  std::string key;
  int line = 0;  // of the key
  YamlNode value;
};

struct YamlLimits {
  int depth_max = 32;
  size_t nodes_max = 20000;     // aliases counted as often as they are used
  size_t bytes_max = 4u << 20;  // of scalars and keys, likewise
};

struct YamlResult {
  YamlNode root;
  bool ok = true;
  int line = 0;       // of the error; 0 when it has none
  std::string error;  // why `text` is no YAML that is read here
};

// Reads exactly one document (an empty text is a null node). Refused with a line: syntax errors, a
// second document, keys that are not text, tags that are not YAML's own, an alias of what holds it,
// anything over `limits`.
YamlResult ParseYaml(std::string_view text, const YamlLimits& limits = {});

}  // namespace atl::recipes
