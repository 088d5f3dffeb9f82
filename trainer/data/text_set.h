// The texts that a recipe names.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "recipes/schema/recipe.h"
#include "trainer/data/split.h"
#include "trainer/data/text_table.h"

namespace atl::trainer {

// Whether the recipe's model learns classes; else labels only serve partitions.
bool LearnsClasses(const recipes::Model& model);

// Reads {train,test}.csv, {train,test}.jsonl or the folders {train,test}/LABEL of data.folder, the
// first data.limit or data.test_limit examples. Labels are numbered by classes.txt or labels.txt;
// without it by the sorted names of the whole training split, whatever split and limit are asked
// for, so that all who have the same files number alike. Sites are read of the training split
// alone.
//
// NOT_FOUND for a file that is not there; INVALID_ARGUMENT, with file and line, for what is wrong
// in it, for a split without examples, and for more classes than model.classes.
absl::StatusOr<TextTable> LoadTextTable(const recipes::Recipe& recipe, Split split);

}  // namespace atl::trainer
