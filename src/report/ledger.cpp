// SPDX-License-Identifier: Apache-2.0
// At an opening the order is: what is set aside becomes durable first, then ledger.txt is cut, so a kill in
// between loses no line. Lines set aside by an earlier start that were not yet recomputed stay set aside.
#include "report/ledger.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <map>
#include <span>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "report/text_lines.h"

namespace lepton::report {

namespace {

constexpr char ledger_name[] = "/ledger.txt";
constexpr char set_aside_name[] = "/ledger.set-aside";
constexpr char not_compared_name[] = "/ledger.not-compared";

constexpr char losses_prefix[] = "loss.";

using Fields = std::vector<std::pair<std::string, std::string>>;

/// A value as it stands in a line; on the stack, because a line is written in every step.
class ValueText {
 public:
  explicit ValueText(int64_t value) : end_(std::to_chars(text_, text_ + sizeof text_, value).ptr) {}
  explicit ValueText(double value)
      : end_(std::isnan(value) ? std::copy_n("nan", 3, text_)  // one spelling, whatever its sign and payload
                               : std::to_chars(text_, text_ + sizeof text_, value).ptr) {}
  explicit ValueText(uint64_t value) {
    constexpr int digits = 16;
    for (int i = 0; i < digits; ++i) text_[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    end_ = text_ + digits;
  }
  std::string_view view() const { return {text_, static_cast<size_t>(end_ - text_)}; }

 private:
  char text_[32];
  char* end_;
};

/// Calls visit(name, value) for the fields of a line but its chain, in their order, of names in two parts
/// with the first as well.
template <class Visit>
void for_each_field(const LedgerLine& line, Visit&& visit) {
  visit("step", ValueText(line.step).view());
  visit("epoch", ValueText(line.epoch).view());
  visit("samples", ValueText(line.samples).view());
  visit("attempts", ValueText(int64_t{line.attempts}).view());
  visit("loss", ValueText(line.loss).view());
  for (const auto& [name, loss] : line.losses) visit(name, ValueText(loss).view(), losses_prefix);
  visit("weight", ValueText(line.weight).view());
  visit("gradient", ValueText(line.gradient).view());
  visit("scales", ValueText(line.scales).view());
  visit("parameters", ValueText(line.parameters).view());
  if (line.skipped) visit("skipped", std::string_view("1"));
  if (!line.note.empty()) visit("note", std::string_view(line.note));
}

/// What is hashed for a line's chain: the chain before it, a space, and the line up to its own.
void write_hashed(const LedgerLine& line, uint64_t previous, std::string& text) {
  text.assign(ValueText(previous).view());
  for_each_field(line, [&](std::string_view name, std::string_view value, std::string_view before = "") {
    text += ' ';
    text += before;
    text += name;
    text += '=';
    text += value;
  });
}

/// The line itself, from what was hashed.
void finish_line(uint64_t chain, std::string& text) {
  constexpr size_t previous_and_space = 17;
  text.erase(0, previous_and_space);
  text += " chain=";
  text += ValueText(chain).view();
}

template <class Number>
void parse_number(const std::map<std::string, std::string>& values, const char* name, Number& number) {
  const std::string& text = values.at(name);
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc{})
    throw std::invalid_argument(name);
}

LedgerLine parse(const std::map<std::string, std::string>& values) {
  LedgerLine line;
  parse_number(values, "step", line.step);
  parse_number(values, "epoch", line.epoch);
  parse_number(values, "samples", line.samples);
  parse_number(values, "attempts", line.attempts);
  parse_number(values, "loss", line.loss);
  parse_number(values, "weight", line.weight);
  for (auto at = values.lower_bound(losses_prefix);
       at != values.end() && at->first.starts_with(losses_prefix); ++at)
    parse_number(values, at->first.c_str(),
                 line.losses.emplace_back(at->first.substr(std::size(losses_prefix) - 1), 0.0).second);
  line.gradient = parse_hex64(values.at("gradient"));
  line.scales = parse_hex64(values.at("scales"));
  line.parameters = parse_hex64(values.at("parameters"));
  line.chain = parse_hex64(values.at("chain"));
  line.skipped = values.contains("skipped");
  if (values.contains("note")) line.note = values.at("note");
  return line;
}

/// What stands in the ledger and what of it a run whose state is after `last` keeps.
struct Cut {
  std::vector<std::string> kept, behind;
  bool changed = false;  // ledger.txt is not `kept` as it stands
};

Cut cut_behind(const std::string& path, const std::optional<LedgerLine>& last) {
  Cut cut;
  cut.kept = read_whole_lines(path, cut.changed);
  auto end = cut.kept.begin();
  if (last) {
    const std::string text = last->encode();
    end = std::find(cut.kept.begin(), cut.kept.end(), text);
    if (end != cut.kept.end()) {
      ++end;
    } else {  // a line before `last` may be damaged, but lines of later steps must go
      log_info("The ledger lacks the line of step " + std::to_string(last->step) +
               "; it is taken from the state.");
      end = std::find_if(cut.kept.begin(), cut.kept.end(), [&](const std::string& kept) {
        const std::optional<LedgerLine> line = LedgerLine::decode(kept);
        return line && line->step >= last->step;
      });
      if (end != cut.kept.end() && LedgerLine::decode(*end)->step == last->step)
        log_warning(path + ": a line differs from the state and is dropped: " + *end);
      end = cut.kept.insert(end, text) + 1;
      cut.changed = true;
    }
  }
  cut.changed = cut.changed || end != cut.kept.end();
  cut.behind.assign(end, cut.kept.end());
  cut.kept.erase(end, cut.kept.end());
  return cut;
}

/// By step, of `lines` and of an earlier set-aside file; those of steps after `after` that are intact.
std::map<int64_t, LedgerLine> merge_set_aside(const std::string& path, const std::vector<std::string>& lines,
                                              int64_t after) {
  bool torn = false;
  std::vector<std::string> all = read_whole_lines(path, torn);
  all.insert(all.end(), lines.begin(), lines.end());
  std::map<int64_t, LedgerLine> merged;
  for (const std::string& text : all) {
    const std::optional<LedgerLine> line = LedgerLine::decode(text);
    if (!line) log_warning("a damaged ledger line cannot be compared: " + text);
    if (line && line->step > after) merged.insert_or_assign(line->step, *line);
  }
  return merged;
}

void require_equal(const LedgerLine& now, const LedgerLine& before) {
  Fields a = now.fields(), b = before.fields();
  a.emplace_back("chain", hex64(now.chain));
  b.emplace_back("chain", hex64(before.chain));
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (x == a.end() && y == b.end()) return;
  const std::string name = x != a.end() ? x->first : y->first;
  fail(Exit::software, std::string("step ") + std::to_string(now.step),
       "the recomputed step differs from the one before the restart in '" + name + "': " +
           (x != a.end() ? x->second : "nothing") + ", it was " + (y != b.end() ? y->second : "nothing"),
       "The old lines stand in ledger.set-aside. Other hardware or libraries give other bits "
       "(--accept-new-arithmetic); on the same ones this is a bug or a hardware fault.");
}

}  // namespace

std::string LedgerLine::encode() const {
  std::string text;
  write_hashed(*this, 0, text);
  finish_line(chain, text);
  return text;
}

std::vector<std::pair<std::string, std::string>> LedgerLine::fields() const {
  Fields fields;
  for_each_field(*this, [&](std::string_view name, std::string_view value, std::string_view before = "") {
    fields.emplace_back(std::string(before).append(name), value);
  });
  return fields;
}

void LedgerLine::chain_onto(uint64_t previous, std::string& text) {
  write_hashed(*this, previous, text);
  chain = hash64(text);
  finish_line(chain, text);
}

uint64_t LedgerLine::chain_after(uint64_t previous) const {
  std::string text;
  write_hashed(*this, previous, text);
  return hash64(text);
}

std::optional<LedgerLine> LedgerLine::decode(const std::string& text) {
  std::istringstream words(text);
  std::map<std::string, std::string> values;
  for (std::string word; words >> word;) {
    const size_t equals = std::min(word.find('='), word.size());
    values.emplace(word.substr(0, equals), word.substr(std::min(equals + 1, word.size())));
  }
  try {
    const LedgerLine line = parse(values);
    if (line.encode() == text) return line;
  } catch (const std::logic_error&) {  // out_of_range: a field is missing; invalid_argument: not a number
  }
  return std::nullopt;
}

/// Puts the files in order for a run that goes on after `last`; returns the lines to compare with.
static std::deque<LedgerLine> prepare(const std::string& directory, const std::optional<LedgerLine>& last,
                                      bool compare) {
  const Cut cut = cut_behind(directory + ledger_name, last);
  const std::string set_aside = directory + set_aside_name;
  const std::map<int64_t, LedgerLine> merged = merge_set_aside(set_aside, cut.behind, last ? last->step : 0);
  std::vector<std::string> texts;
  std::deque<LedgerLine> expected;
  for (const auto& [step, line] : merged) {
    texts.push_back(line.encode());
    expected.push_back(line);
  }
  if (!merged.empty() && compare) storage::replace_file(set_aside, joined_lines(texts));
  if (!merged.empty() && !compare) {
    const std::string path = directory + not_compared_name;
    storage::replace_file(path, storage::read_file_if_exists(path).value_or("") + joined_lines(texts));
    expected.clear();
  }
  if (!cut.behind.empty())
    log_info(std::to_string(cut.behind.size()) + " ledger lines behind the state are set aside" +
             (compare ? " and will be compared." : ", not compared."));
  if (cut.changed) storage::replace_file(directory + ledger_name, joined_lines(cut.kept));
  if (expected.empty()) storage::remove_tree(set_aside);
  return expected;
}

Ledger::Ledger(const std::string& directory, const std::optional<LedgerLine>& last, bool compare)
    : directory_(directory),
      last_(last),
      expected_(prepare(directory, last, compare)),
      file_(directory + ledger_name) {}

const std::string& Ledger::append(const LedgerLine& said) {
  LedgerLine& line = next_;
  line = said;
  CHECK(line.note.find_first_of(" \t\n=") == std::string::npos, "a note is one word: " + line.note);
  line.chain_onto(last_ ? last_->chain : 0, text_);
  while (!expected_.empty() && expected_.front().step < line.step) expected_.pop_front();
  const bool compared = !expected_.empty() && expected_.front().step == line.step;
  if (compared) require_equal(line, expected_.front());
  written_ = text_;
  failpoint("ledger", std::as_writable_bytes(std::span(written_)));
  file_.append(written_);
  last_ = line;
  if (compared) {
    expected_.pop_front();
    if (expected_.empty()) {  // all that was lost is there again
      file_.sync();
      storage::remove_tree(directory_ + set_aside_name);
    }
  }
  return text_;
}

void Ledger::make_durable() {
  file_.sync();
}

std::vector<LedgerLine> read_ledger(const std::string& path, int64_t& broken_at) {
  bool torn = false;
  std::vector<LedgerLine> lines;
  broken_at = 0;
  for (const std::string& text : read_whole_lines(path, torn)) {
    const std::optional<LedgerLine> line = LedgerLine::decode(text);
    const bool follows = line && (lines.empty() ? line->step != 1 || line->chain == line->chain_after(0)
                                                : line->step == lines.back().step + 1 &&
                                                      line->chain == line->chain_after(lines.back().chain));
    if (!follows) {
      broken_at = static_cast<int64_t>(lines.size()) + 1;
      break;
    }
    lines.push_back(*line);
  }
  return lines;
}

}  // namespace lepton::report
