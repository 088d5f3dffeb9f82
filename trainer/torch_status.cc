#include "trainer/torch_status.h"

#include <torch/types.h>

#include <new>
#include <string>

#include "absl/strings/str_cat.h"

namespace atl::trainer {

absl::Status StatusOfCurrentException(std::string_view doing) {
  absl::string_view what(doing.data(), doing.size());
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of memory"));
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": ", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    std::string text = error.what_without_backtrace();
    return absl::InternalError(absl::StrCat(what, ": ", text.substr(0, text.find('\n'))));
  } catch (const std::exception& error) {
    std::string text = error.what();
    return absl::InternalError(absl::StrCat(what, ": ", text.substr(0, text.find('\n'))));
  } catch (...) {
    return absl::InternalError(absl::StrCat(what, ": unknown exception"));
  }
}

}  // namespace atl::trainer
