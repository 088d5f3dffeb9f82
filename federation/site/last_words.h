// What a trainer that has ended says in its log.
#pragma once

#include <string>
#include <string_view>

namespace atl::site {

// From the log of one launch, as one printable line of at most kLastWordsBytes, the end of it where
// it would be longer: what the ranks themselves have written, and the signal that ended one, if
// mpirun names it. mpirun's paragraphs, which stand between rulers and say at length that a rank
// has failed, only where there is nothing else. Empty when the log is.
std::string LastWordsIn(std::string_view log);
inline constexpr size_t kLastWordsBytes = 700;

}  // namespace atl::site
