#include "recipes/schema/yaml_tree.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace atl::recipes {
namespace {

// Leaves yaml-cpp's parser, which knows no other way to stop; caught in ParseYaml.
struct Refused {
  int line;
  std::string why;
};

int LineOf(const YAML::Mark& mark) { return mark.line < 0 ? 0 : mark.line + 1; }

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const YamlLimits& limits) : limits_(limits) {}

  YamlNode TakeRoot() { return std::move(root_); }
  bool has_document() const { return has_document_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (has_document_) throw Refused{LineOf(mark), "a recipe is one YAML document, not several"};
  }
  void OnDocumentEnd() override { has_document_ = true; }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    YamlNode node;
    node.line = LineOf(mark);
    Add(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{LineOf(mark), "an alias of what it stands in"};
    line_of_event_ = LineOf(mark);
    Charge(found->second);
    Place(YamlNode(found->second));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.line = LineOf(mark);
    node.text = value;
    node.quoted = CheckTag(tag, node.line);
    Add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kSequence, LineOf(mark), tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kMap, LineOf(mark), tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    bool has_key = false;  // a map's key was read, its value was not
  };

  // True when the tag makes a scalar text: yaml-cpp gives "!" for what stands in quotes.
  static bool CheckTag(const std::string& tag, int line) {
    constexpr std::string_view kYaml = "tag:yaml.org,2002:";
    if (tag.empty() || tag == "?") return false;
    if (tag == "!") return true;
    if (tag.starts_with(kYaml)) {
      const std::string kind = tag.substr(kYaml.size());
      if (kind == "str") return true;
      for (const char* known : {"int", "float", "bool", "null", "map", "seq"}) {
        if (kind == known) return false;
      }
    }
    throw Refused{line, absl::StrCat("the tag ", tag.substr(0, 60), " is not read here")};
  }

  // Counts a node and all below it against the limits.
  void Charge(const YamlNode& node) {
    ++nodes_;
    bytes_ += node.text.size();
    for (const YamlNode& item : node.items) Charge(item);
    for (const YamlNode::Entry& entry : node.entries) {
      bytes_ += entry.key.size();
      Charge(entry.value);
    }
    if (nodes_ > limits_.nodes_max) {
      throw Refused{line_of_event_, absl::StrCat("more than ", limits_.nodes_max,
                                                 " values, aliases counted as often as used")};
    }
    if (bytes_ > limits_.bytes_max) {
      throw Refused{line_of_event_,
                    absl::StrCat("more than ", limits_.bytes_max,
                                 " bytes of text, aliases counted as often as used")};
    }
  }

  void Open(YamlNode::Kind kind, int line, const std::string& tag, YAML::anchor_t anchor) {
    CheckTag(tag, line);
    if (static_cast<int>(stack_.size()) >= limits_.depth_max) {
      throw Refused{line, absl::StrCat("nested deeper than ", limits_.depth_max, " levels")};
    }
    Frame frame;
    frame.node.kind = kind;
    frame.node.line = line;
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    line_of_event_ = frame.node.line;
    if (++nodes_ > limits_.nodes_max) Charge(YamlNode());
    if (frame.anchor != 0) {
      Charge(frame.node);
      anchors_[frame.anchor] = frame.node;
    }
    Place(std::move(frame.node));
  }

  void Add(YamlNode node, YAML::anchor_t anchor) {
    line_of_event_ = node.line;
    Charge(node);
    if (anchor != 0) {
      Charge(node);
      anchors_[anchor] = node;
    }
    Place(std::move(node));
  }

  void Place(YamlNode node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node.IsSequence()) {
      top.node.items.push_back(std::move(node));
    } else if (top.has_key) {
      top.node.entries.back().value = std::move(node);
      top.has_key = false;
    } else {
      if (!node.IsScalar()) {
        const bool braces = node.IsMap() && node.entries.size() == 1;
        throw Refused{node.line, braces ? absl::StrCat("a key must be text; to mean the text {{",
                                                       node.entries[0].key.substr(0, 60),
                                                       "}} put it in quotes")
                                        : "a key must be text"};
      }
      top.node.entries.push_back({std::move(node.text), node.line, YamlNode()});
      top.has_key = true;
    }
  }

  const YamlLimits limits_;
  YamlNode root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  size_t nodes_ = 0;
  size_t bytes_ = 0;
  int line_of_event_ = 0;
  bool has_document_ = false;
};

YamlResult Failed(int line, std::string why) {
  YamlResult result;
  result.ok = false;
  result.line = line;
  result.error = std::move(why);
  return result;
}

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

YamlResult ParseYaml(std::string_view text, const YamlLimits& limits) {
  TreeBuilder builder(limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return Failed(refused.line, refused.why);
  } catch (const YAML::Exception& error) {
    return Failed(LineOf(error.mark), absl::StrCat("not YAML: ", error.msg));
  } catch (const std::exception& error) {
    return Failed(0, absl::StrCat("not YAML: ", error.what()));
  }
  YamlResult result;
  result.root = builder.TakeRoot();
  return result;
}

}  // namespace atl::recipes
