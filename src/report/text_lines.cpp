// SPDX-License-Identifier: Apache-2.0
// Files to lines and lines to files' contents; storage does the reading and writing.
#include "report/text_lines.h"

#include "storage/file.h"

namespace lepton::report {

std::vector<std::string> read_whole_lines(const std::string& path, bool& torn) {
  const std::string text = storage::read_file_if_exists(path).value_or("");
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  torn = begin < text.size();
  return lines;
}

std::string joined_lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

}  // namespace lepton::report
