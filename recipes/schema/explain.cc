#include "recipes/schema/explain.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "recipes/schema/checks.h"
#include "recipes/schema/properties.h"

namespace atl::recipes {
namespace {

constexpr size_t kValueColumnsMax = 40;

void Pad(std::string* line, size_t columns) {
  // At least one blank behind what is too wide for its column.
  line->append(line->size() < columns ? columns - line->size() : 1, ' ');
}

std::string Cell(const std::string& text) {
  std::string cell;
  for (char c : text) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

std::string Code(const std::string& text) {
  return text.empty() ? "" : absl::StrCat("`", text, "`");
}

void AddRow(std::string* out, const Property& property) {
  std::string keys = Code(property.key);
  for (const std::string& alias : property.aliases) absl::StrAppend(&keys, ", ", Code(alias));
  std::string doc = property.doc;
  if (!property.used_with.empty())
    absl::StrAppend(&doc, " Used with `", property.used_with, "` only.");
  const std::string standard = property.required ? "required" : Code(property.DefaultText());
  absl::StrAppend(out, "| ", Cell(keys), " | ", TypeText(property.type), " | ", Cell(standard),
                  " | ", Cell(BoundsText(property)), " | ", Cell(doc), " |\n");
}

void AddTheirRow(std::string* out, const Property& property) {
  absl::StrAppend(out, "| ", Code(property.key), " | ", TypeText(property.type), " | ",
                  Cell(property.doc), " |\n");
}

// What a value of an update takes: "a value takes 16 bits and 2 more for the sum of 4 sites: 18 on
// the wire, in lanes of 32 bits (14 value bits would fill lanes of 16)".
std::string LanesText(const Recipe& recipe) {
  const auto value_bits = static_cast<uint32_t>(recipe.secure_aggregation.value_bits);
  const auto more =
      static_cast<uint32_t>(std::bit_width(static_cast<uint32_t>(recipe.site.count - 1)));
  const uint32_t sum_bits = value_bits + more;
  uint32_t lane_bits = 8;
  while (lane_bits < sum_bits) lane_bits *= 2;
  std::string text = absl::StrCat("lanes: a value takes ", value_bits, " bits and ", more,
                                  " more for the sum of ", recipe.site.count, " sites: ", sum_bits,
                                  " on the wire, in lanes of ", lane_bits, " bits");
  if (lane_bits / 2 > more + 3) {
    absl::StrAppend(&text, " (", lane_bits / 2 - more, " value bits fit lanes of ", lane_bits / 2,
                    ")");
  }
  return text;
}

void AddNotes(std::string* out, const LoadResult& result) {
  for (Problem note : result.notes) {
    note.message = "note: " + note.message;
    absl::StrAppend(out, note.Text(), "\n");
  }
}

}  // namespace

std::string CheckText(const LoadResult& result, const std::string& file_name) {
  std::string out;
  for (const Problem& problem : result.problems) absl::StrAppend(&out, problem.Text(), "\n");
  AddNotes(&out, result);
  const size_t count = result.problems.size();
  if (count == 0) return absl::StrCat(out, file_name, ": no problems\n");
  return absl::StrCat(out, count, count == 1 ? " problem\n" : " problems\n");
}

std::string ExplainText(const LoadResult& result) {
  const auto value_of = [](const Origin& origin) {
    return ShowText(origin.value, kValueColumnsMax);
  };
  // The table has one file, so its folders would only widen it.
  const auto source_of = [](const Origin& origin) {
    const size_t slash = origin.source.rfind('/');
    return slash == std::string::npos ? origin.source : origin.source.substr(slash + 1);
  };
  size_t key_columns = 3, value_columns = 5, source_columns = 6;
  for (const Origin& origin : result.origins) {
    key_columns = std::max(key_columns, origin.key.size());
    value_columns = std::max(value_columns, value_of(origin).size());
    source_columns = std::max(source_columns, source_of(origin).size());
  }
  std::string out;
  const auto add_line = [&](const std::string& key, const std::string& value,
                            const std::string& source, const std::string& doc) {
    std::string line = key;
    Pad(&line, key_columns + 2);
    line += value;
    Pad(&line, key_columns + value_columns + 4);
    line += source;
    Pad(&line, key_columns + value_columns + source_columns + 6);
    absl::StrAppend(&out, line, doc, "\n");
  };
  add_line("KEY", "VALUE", "SOURCE", "WHAT IT IS");
  for (const Origin& origin : result.origins) {
    const Property* property = FindProperty(Place::kParameters, origin.key);
    if (property == nullptr) property = FindProperty(Place::kRoot, origin.key);
    std::string doc = property == nullptr ? "" : property->doc;
    if (property != nullptr && property->used && !property->used(result.recipe)) {
      doc = absl::StrCat("(used with ", property->used_with, " only) ", doc);
    }
    add_line(origin.key, value_of(origin), source_of(origin), doc);
  }
  if (result.problems.empty() && result.recipe.site.count > 1) {
    absl::StrAppend(&out, LanesText(result.recipe), "\n");
  }
  AddNotes(&out, result);
  return out;
}

std::string PropertiesMarkdown() {
  std::string out =
      "# Recipes\n\n"
      "<!-- Made from the table of properties in recipes/schema by `recipe-docs`; change that, not "
      "this. -->\n\n"
      "A recipe says what one job trains, on what, where and how. It is a Transformer Lab "
      "`task.yaml`: the same file "
      "goes to Transformer Lab or to `atoll run`. Everything of Atoll's stands under `parameters`; "
      "what is left out "
      "has its default. `recipes/catalog/` has recipes that run.\n\n"
      "```yaml\n"
      "name: my-job\n"
      "run: atoll run task.yaml\n"
      "parameters:\n"
      "  site: {count: 4, ranks: 2}\n"
      "  train:\n"
      "    optimizer: {kind: sgd, lr: 0.05}\n"
      "    batch_size: 64\n"
      "  train.optimizer.lr: 0.1     # a dotted key beside the sections overrides the nested one\n"
      "```\n\n"
      "- `atoll recipe check FILE` reports every problem at once, each with its line; `atoll "
      "recipe explain FILE` "
      "shows every value and where it came from.\n"
      "- `--set train.optimizer.lr=0.1` on the command line overrides the file; of two for one key "
      "the last counts. "
      "Strongest first: `--set`, dotted keys, nested keys, defaults.\n"
      "- Numbers may stand in quotes, and `2e-5` is a number.\n"
      "- A parameter in Transformer Lab's documented form, `{type: float, default: 0.05, min: "
      "0.001, max: 1}`, has "
      "its `default`.\n"
      "- `{{secret.NAME}}` may stand in `run`, `setup` and `envs`, which Transformer Lab fills in; "
      "none of Atoll's "
      "properties is a secret.\n"
      "- A file has at most 1 MiB, 32 levels and 20000 values, aliases counted as often as they "
      "are used. The old "
      "wrapper `task:` around everything is read.\n";

  std::string section;
  for (const Property& property : Properties()) {
    if (!property.IsAtolls()) continue;
    const bool root = property.place == Place::kRoot;
    const std::string heading =
        root ? "Beside `parameters`"
             : absl::StrCat("`parameters`: `", property.key.substr(0, property.key.find('.')), "`");
    if (heading != section) {
      section = heading;
      absl::StrAppend(
          &out, "\n## ", heading,
          "\n\n| key | type | default | must be | what it is |\n|---|---|---|---|---|\n");
    }
    AddRow(&out, property);
  }

  absl::StrAppend(&out, "\n## What must hold between them\n\n");
  for (const Check& check : Checks()) absl::StrAppend(&out, "- ", check.doc, "\n");

  absl::StrAppend(&out,
                  "\n## Transformer Lab's own keys\n\n"
                  "They are read, their types checked, and they keep their meaning there. Atoll "
                  "does not act on them "
                  "and says so in a note when they are present: in particular it runs no sweep (it "
                  "uses the values "
                  "under `parameters`) and neither `setup` nor `run`.\n\n"
                  "| key | type | what it is |\n|---|---|---|\n");
  for (const Property& property : Properties()) {
    if (!property.IsAtolls()) AddTheirRow(&out, property);
  }
  return out;
}

}  // namespace atl::recipes
