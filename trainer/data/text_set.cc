#include "trainer/data/text_set.h"

#include <algorithm>
#include <utility>

#include "comms/base/files.h"
#include "comms/base/status.h"
#include "trainer/data/text_files.h"

namespace atl::trainer {
namespace {

using recipes::DatasetKind;

std::filesystem::path PathOf(const recipes::Data& data, Split split) {
  const std::string name = split == Split::kTrain ? "train" : "test";
  const char* ending = data.dataset == DatasetKind::kCsv         ? ".csv"
                       : data.dataset == DatasetKind::kJsonLines ? ".jsonl"
                                                                 : "";
  return std::filesystem::path(data.folder) / (name + ending);
}

absl::StatusOr<TextTable> ReadTable(const recipes::Data& data, Split split,
                                    const TextColumns& columns) {
  const auto path = PathOf(data, split);
  if (data.dataset == DatasetKind::kTextFolders) return ReadTextFolders(path, columns);
  auto bytes = ReadFile(path, kMaxTextFileBytes);
  if (absl::IsNotFound(bytes.status())) {
    return absl::NotFoundError(absl::StrCat("data set ", ToString(data.dataset), ": no file ",
                                            path.string(), "; make it or set data.folder"));
  }
  if (!bytes.ok()) return bytes.status();
  return data.dataset == DatasetKind::kCsv ? ParseCsv(AsText(*bytes), path.string(), columns)
                                           : ParseJsonLines(AsText(*bytes), path.string(), columns);
}

template <typename T>
void Truncate(std::vector<T>& rows, size_t count) {
  if (rows.size() > count) rows.erase(rows.begin() + static_cast<ptrdiff_t>(count), rows.end());
}

}  // namespace

bool LearnsClasses(const recipes::Model& model) {
  return model.kind == recipes::ModelKind::kTextClassifier ||
         (model.kind == recipes::ModelKind::kEncoder &&
          model.task == recipes::EncoderTask::kClassify);
}

absl::StatusOr<TextTable> LoadTextTable(const recipes::Recipe& recipe, Split split) {
  const recipes::Data& data = recipe.data;
  const bool is_table =
      data.dataset == DatasetKind::kCsv || data.dataset == DatasetKind::kJsonLines;
  if (!is_table && data.dataset != DatasetKind::kTextFolders) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.dataset: ", ToString(data.dataset), " has no texts that Atoll reads"));
  }
  TextColumns columns;
  columns.label_required = LearnsClasses(recipe.model);
  if (is_table) {
    columns.text = data.text_field;
    columns.label = data.label_field;
    const bool pairs = recipe.model.kind == recipes::ModelKind::kEncoder &&
                       recipe.model.task == recipes::EncoderTask::kContrastive;
    if (pairs) columns.pair = data.pair_field;
    if (split == Split::kTrain) columns.site = data.site_field;
  } else {
    columns.label = "label";
  }
  ATOLL_ASSIGN_OR_RETURN(columns.classes, ReadClassNames(data.folder));
  const size_t limit = static_cast<size_t>(split == Split::kTrain ? data.limit : data.test_limit);
  TextTable table;
  if (split == Split::kTest && columns.label_required && columns.classes.empty()) {
    ATOLL_ASSIGN_OR_RETURN(TextTable train, ReadTable(data, Split::kTrain, columns));
    columns.classes = std::move(train.labels.names);
  }
  // Where the file itself says which classes there are, all of it has to be read.
  if (!columns.classes.empty() || !columns.label_required) columns.limit = limit;
  ATOLL_ASSIGN_OR_RETURN(table, ReadTable(data, split, columns));
  if (limit != 0) {
    Truncate(table.texts, limit);
    Truncate(table.pairs, limit);
    Truncate(table.labels.ids, limit);
    Truncate(table.sites.ids, limit);
  }
  if (table.texts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(PathOf(data, split).string(), ": no example in it"));
  }
  if (columns.label_required &&
      table.labels.names.size() > static_cast<size_t>(recipe.model.classes)) {
    return absl::InvalidArgumentError(absl::StrCat("model.classes: ", recipe.model.classes,
                                                   " must be at least the data set's ",
                                                   table.labels.names.size()));
  }
  return table;
}

}  // namespace atl::trainer
