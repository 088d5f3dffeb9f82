#include "comms/base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "comms/base/clock.h"
#include "comms/base/status.h"
#include "spdlog/sinks/basic_file_sink.h"
#include "spdlog/sinks/stdout_color_sinks.h"

namespace atl {
namespace {

constexpr std::array<std::pair<std::string_view, spdlog::level::level_enum>, 6> kLevels = {{
    {"trace", spdlog::level::trace},
    {"debug", spdlog::level::debug},
    {"info", spdlog::level::info},
    {"warn", spdlog::level::warn},
    {"error", spdlog::level::err},
    {"off", spdlog::level::off},
}};

constexpr const char* kHumanPattern = "%H:%M:%S.%e %n %^%l%$ %v";

// Bytes of the UTF-8 character that `text` begins with (RFC 3629: no overlong forms, surrogates or
// values over U+10FFFF); 0 when it begins with none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) -> uint8_t {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : 0;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!follows(1) || !follows(2)) return 0;
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

// A message may quote a peer's bytes: whatever they are, the line must stay one line of valid JSON.
void AppendJsonString(std::string_view text, std::string& out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out.push_back('"');
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    const char c = text[0];
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<uint8_t>(c) < 0x20) {
      out += "\\u00";
      out.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
      out.push_back(kDigits[c & 15]);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out.push_back('"');
}

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const int64_t unix_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(message.time.time_since_epoch())
            .count();
    std::string_view level = "info";
    for (const auto& [name, value] : kLevels) {
      if (value == message.level) level = name;
    }
    std::string line = absl::StrCat("{\"time\":\"", FormatUtc(unix_ms), "\",\"level\":");
    AppendJsonString(level, line);
    line += ",\"program\":";
    AppendJsonString({message.logger_name.data(), message.logger_name.size()}, line);
    line += ",\"message\":";
    AppendJsonString({message.payload.data(), message.payload.size()}, line);
    line += "}\n";
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

}  // namespace

absl::Status InitLogging(const LogOptions& options) {
  const auto level = std::find_if(kLevels.begin(), kLevels.end(),
                                  [&](const auto& entry) { return entry.first == options.level; });
  if (level == kLevels.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "log level '", options.level, "': must be one of trace, debug, info, warn, error, off"));
  }
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  } else {
    // Opened here first, for the system's reason: spdlog's exception has only a text.
    const int fd = open(options.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat(options.file, ": cannot open the log file"));
    }
    close(fd);
    try {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    } catch (const spdlog::spdlog_ex& error) {
      return absl::InternalError(
          absl::StrCat(options.file, ": cannot open the log file: ", error.what()));
    }
  }
  auto logger = std::make_shared<spdlog::logger>(options.program, std::move(sink));
  if (options.json) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_pattern(kHumanPattern);
  }
  logger->set_level(level->second);
  logger->flush_on(spdlog::level::trace);  // a killed process must leave its last lines
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

bool log_internal::UseStderr() {
  // Once, however many sources include the header; a function-local static is safe before main.
  static const bool done = [] {
    auto logger = std::make_shared<spdlog::logger>(
        "atoll", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    logger->set_pattern(kHumanPattern);
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
    return true;
  }();
  return done;
}

}  // namespace atl
