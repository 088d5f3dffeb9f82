#include "federation/site/last_words.h"

namespace atl::site {
namespace {

// Open MPI 4's words for a rank that was killed; anything else in its paragraphs the ranks, or the
// exit code, say better.
constexpr std::string_view kBySignal = "mpirun noticed that process rank";
// Every message of the trainer begins so; mpirun's paragraphs may fall in between.
constexpr std::string_view kTrainer = "atoll-trainer: ";

bool IsRuler(std::string_view line) {
  return line.size() >= 20 && line.find_first_not_of("- \r") == std::string_view::npos;
}

void Append(std::string& words, std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
  if (!words.empty()) words += " | ";
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    words += byte < 0x20 || byte > 0x7e ? ' ' : c;
  }
}

}  // namespace

std::string LastWordsIn(std::string_view log) {
  std::string ranks, mpirun, signal, last;
  bool in_paragraph = false;
  while (!log.empty()) {
    const size_t end = log.find('\n');
    const std::string_view line = log.substr(0, end);
    log.remove_prefix(end == std::string_view::npos ? log.size() : end + 1);
    if (IsRuler(line)) {
      in_paragraph = !in_paragraph;
    } else if (line.substr(0, kTrainer.size()) == kTrainer) {
      // Ranks that share an error each say it.
      if (line != last) Append(ranks, line.substr(kTrainer.size()));
      last = std::string(line);
    } else if (!in_paragraph) {
      Append(ranks, line);
    } else if (line.substr(0, kBySignal.size()) == kBySignal) {
      Append(signal, line);
    } else {
      Append(mpirun, line);
    }
  }
  std::string words = ranks;
  Append(words, signal);
  if (words.empty()) words = mpirun;
  if (words.size() > kLastWordsBytes) words.erase(0, words.size() - kLastWordsBytes);
  return words;
}

}  // namespace atl::site
