// The site's YAML file: one table of keys, every mistake reported with its line.
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "federation/site/site_main.h"
#include "recipes/schema/values.h"
#include "recipes/schema/yaml_tree.h"

namespace atl::site {
namespace {

namespace fs = std::filesystem;
using recipes::YamlNode;

constexpr uint64_t kMaxSiteFileBytes = 1 << 20;
constexpr int64_t kSpotCheckChunksMax = 1 << 16;

// Reads one value into the options; what it must be when it is not.
using Read = std::function<std::string(const YamlNode&, SiteOptions&)>;
struct Key {
  const char* name;
  Read read;
};

template <typename Set>
Read Text(Set set) {
  return [set](const YamlNode& node, SiteOptions& options) -> std::string {
    const auto text = recipes::ReadText(node);
    if (!text || text->empty() || !recipes::IsPlainText(*text)) return "must be text";
    set(options, *text);
    return {};
  };
}

Read Bool(bool& (*field)(SiteOptions&)) {
  return [field](const YamlNode& node, SiteOptions& options) -> std::string {
    const auto value = recipes::ReadBool(node);
    if (!value) return "must be true or false";
    field(options) = *value;
    return {};
  };
}

template <typename T>
Read Integer(T& (*field)(SiteOptions&), int64_t min, int64_t max) {
  return [=](const YamlNode& node, SiteOptions& options) -> std::string {
    const auto value = recipes::ReadInteger(node);
    if (!value || *value < min || *value > max) {
      return absl::StrCat("must be a whole number from ", min, " to ", max);
    }
    field(options) = static_cast<T>(*value);
    return {};
  };
}

Read Number(double& (*field)(SiteOptions&)) {
  return [field](const YamlNode& node, SiteOptions& options) -> std::string {
    const auto value = recipes::ReadNumber(node);
    if (!value || *value <= 0) return "must be a number > 0";
    field(options) = *value;
    return {};
  };
}

std::string ReadRole(const YamlNode& node, SiteOptions& options) {
  const auto text = recipes::ReadText(node);
  if (text != "site" && text != "evaluator") return "must be site or evaluator";
  options.role = *text == "site" ? Role::kSite : Role::kEvaluator;
  return {};
}

// `folder` is the file's own: relative paths begin there.
std::vector<Key> Keys(const fs::path& folder) {
  const auto path = [folder](fs::path SiteOptions::*field) {
    return Text([folder, field](SiteOptions& options, const std::string& text) {
      options.*field = fs::path(text).is_absolute() ? fs::path(text) : folder / text;
    });
  };
  const auto text = [](std::string SiteOptions::*field) {
    return Text(
        [field](SiteOptions& options, const std::string& value) { options.*field = value; });
  };
  constexpr int64_t kBig = int64_t{1} << 53;
  return {
      {"coordinator", text(&SiteOptions::coordinator)},
      {"data_folder", path(&SiteOptions::data_folder)},
      {"log_folder", path(&SiteOptions::log_folder)},
      {"identity", path(&SiteOptions::identity_file)},
      {"roster", path(&SiteOptions::roster_file)},
      {"operator_key", text(&SiteOptions::operator_key)},
      {"site_id", Integer<uint32_t>(
                      [](SiteOptions & o) -> auto& { return o.site_id; }, 1,
                      std::numeric_limits<uint32_t>::max())},
      {"role", ReadRole},
      {"trainer", path(&SiteOptions::trainer)},
      {"cpus", Number([](SiteOptions & o) -> auto& { return o.cpus; })},
      {"memory", Number([](SiteOptions & o) -> auto& { return o.memory_gb; })},
      {"log.level", Text([](SiteOptions& o, const std::string& value) { o.log.level = value; })},
      {"log.json", Bool([](SiteOptions & o) -> auto& { return o.log.json; })},
      {"log.file", Text([folder](SiteOptions& o, const std::string& value) {
         o.log.file = fs::path(value).is_absolute() ? value : (folder / value).string();
       })},
      {"relaunch_limit", Integer<int>(
                             [](SiteOptions & o) -> auto& { return o.relaunch_limit; }, 0, 100)},
      {"trainer_start_timeout_s",
       Integer<int>(
           [](SiteOptions & o) -> auto& { return o.trainer_start_timeout_s; }, 1, 86'400)},
      {"spot_check_chunks",
       Integer<uint32_t>(
           [](SiteOptions & o) -> auto& { return o.spot_check_chunks; }, 0, kSpotCheckChunksMax)},
      {"floors.cohort_min",
       Integer<uint32_t>(
           [](SiteOptions & o) -> auto& { return o.floors.cohort_min; }, 1, secagg::kMaxSites)},
      {"floors.allow_two_of_three",
       Bool([](SiteOptions & o) -> auto& { return o.floors.allow_two_of_three; })},
      {"floors.allow_two_sites",
       Bool([](SiteOptions & o) -> auto& { return o.floors.allow_two_sites; })},
      {"floors.allow_plain", Bool([](SiteOptions & o) -> auto& { return o.floors.allow_plain; })},
      {"floors.weight_max",
       Integer<uint64_t>(
           [](SiteOptions & o) -> auto& { return o.floors.weight_max; }, 1, kBig)},
      {"floors.corrupt_sites_max",
       Integer<uint32_t>(
           [](SiteOptions & o) -> auto& { return o.floors.corrupt_sites_max; }, 0, 65'535)},
      {"floors.cohort_distance_min",
       Integer<uint32_t>(
           [](SiteOptions & o) -> auto& { return o.floors.cohorts.distance_min; }, 0,
           secagg::kMaxSites)},
      {"floors.allow_difference_of_one",
       Bool([](SiteOptions & o) -> auto& { return o.floors.cohorts.allow_difference_of_one; })},
      {"floors.clip_norm_l2_max",
       Number([](SiteOptions & o) -> auto& { return o.floors.clip_norm_l2_max; })},
  };
}

class Reader {
 public:
  Reader(const fs::path& file, SiteOptions& options)
      : file_(file.string()), keys_(Keys(file.parent_path())), options_(options) {}

  void ReadMap(const YamlNode& map, const std::string& prefix) {
    std::set<std::string> seen;
    for (const YamlNode::Entry& entry : map.entries) {
      const std::string key = prefix + entry.key;
      if (!seen.insert(key).second) {
        Problem(entry.line, absl::StrCat(recipes::ShowText(key), ": stands twice"));
      } else if (prefix.empty() && (entry.key == "log" || entry.key == "floors")) {
        if (entry.value.IsMap()) {
          ReadMap(entry.value, key + ".");
        } else if (!entry.value.IsNull()) {
          Problem(entry.line, absl::StrCat(key, ": must be a map"));
        }
      } else {
        ReadEntry(key, entry);
      }
    }
  }

  void Problem(int line, const std::string& what) {
    absl::StrAppend(&problems_, problems_.empty() ? "" : "\n", file_, ":",
                    line > 0 ? absl::StrCat(line, ":") : "", " ", what);
  }
  absl::Status status() const {
    return problems_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problems_);
  }

 private:
  void ReadEntry(const std::string& name, const YamlNode::Entry& entry) {
    std::vector<std::string> names;
    for (const Key& key : keys_) {
      names.push_back(key.name);
      if (name != key.name) continue;
      const std::string must = key.read(entry.value, options_);
      if (!must.empty()) {
        Problem(entry.line, absl::StrCat(name, ": ", recipes::Show(entry.value), " ", must));
      }
      return;
    }
    const std::string near = recipes::Nearest(name, names);
    Problem(entry.line, absl::StrCat(recipes::ShowText(name), ": unknown key",
                                     near.empty() ? "" : "; did you mean " + near + "?"));
  }

  const std::string file_;
  const std::vector<Key> keys_;
  SiteOptions& options_;
  std::string problems_;
};

}  // namespace

absl::Status LoadSiteFile(const fs::path& path, SiteOptions& options) {
  ATOLL_ASSIGN_OR_RETURN(const Bytes text, ReadFile(path, kMaxSiteFileBytes));
  SiteOptions read = options;  // all of it, or nothing
  Reader reader(path, read);
  const recipes::YamlResult yaml = recipes::ParseYaml(AsText(text));
  if (!yaml.ok) {
    reader.Problem(yaml.line, yaml.error);
  } else if (yaml.root.IsMap()) {
    reader.ReadMap(yaml.root, "");
  } else if (!yaml.root.IsNull()) {
    reader.Problem(yaml.root.line, "must be a map of keys and values");
  }
  ATOLL_RETURN_IF_ERROR(reader.status());
  options = std::move(read);
  return absl::OkStatus();
}

}  // namespace atl::site
