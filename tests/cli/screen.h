// A terminal that knows the control sequences that the live view uses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace atl::cli {

// Lines as a person sees them, at most `width` columns; `problem` names the first thing the
// terminal does not know or that a real one would not do.
struct Screen {
  explicit Screen(size_t columns = 80) : width(columns) {}

  void Write(std::string_view text) {
    while (!text.empty() && problem.empty()) {
      if (text[0] == '\x1b') {
        size_t end = text.find_first_of("AJhl");
        if (end == std::string_view::npos) {
          problem = "unfinished control sequence";
          return;
        }
        Control(std::string(text.substr(0, end + 1)));
        text.remove_prefix(end + 1);
        continue;
      }
      if (text[0] == '\n') {
        ++row;
        column = 0;
      } else {
        Put(text[0]);
      }
      text.remove_prefix(1);
    }
  }

  std::vector<std::string> lines;
  std::string problem;
  size_t width, row = 0, column = 0;
  bool wraps = true;

 private:
  void Put(char c) {
    if (column == width) {
      if (!wraps) {
        lines[row].back() = c;  // the cursor stays in the last column
        return;
      }
      ++row;
      column = 0;
    }
    if (lines.size() <= row) lines.resize(row + 1);
    if (lines[row].size() <= column) lines[row].resize(column + 1, ' ');
    lines[row][column++] = c;
  }
  void Control(const std::string& sequence) {
    if (sequence == "\x1b[?7l" || sequence == "\x1b[?7h") {
      wraps = sequence.back() == 'h';
    } else if (sequence == "\x1b[J") {
      if (column != 0) problem = "erases from the middle of a line";
      if (lines.size() > row) lines.resize(row);
    } else if (sequence.starts_with("\x1b[") && sequence.back() == 'A') {
      size_t up = std::stoul(sequence.substr(2));
      if (up == 0 || up > row)
        problem = "goes up " + std::to_string(up) + " from row " + std::to_string(row);
      row -= up > row ? row : up;
    } else {
      problem = "unknown sequence " + sequence.substr(1);
    }
  }
};

}  // namespace atl::cli
