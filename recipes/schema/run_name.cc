#include "recipes/schema/run_name.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "comms/base/clock.h"
#include "comms/base/random.h"
#include "recipes/schema/recipe.h"

namespace atl::recipes {

std::string NewRunName(const std::string& recipe_name) {
  std::string stamp;
  for (char c : FormatUtc(RealClock().UnixMs()).substr(0, 19)) {  // 2026-11-22T15:43:01
    if (c == 'T') stamp += '-';
    if (c >= '0' && c <= '9') stamp += c;
  }
  std::array<uint8_t, 2> tail;
  SystemRandom().Fill(tail);
  return absl::StrCat(SafeName(recipe_name), "-", stamp, "-", Hex(tail));
}

}  // namespace atl::recipes
