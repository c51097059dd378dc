// SPDX-License-Identifier: Apache-2.0
// Two ledgers line by line; see the header.
#include "train/compare_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "report/ledger.h"
#include "storage/file.h"
#include "train/commands.h"
#include "train/run_record.h"

namespace lepton::train {

namespace {

using Json = nlohmann::ordered_json;

std::vector<report::LedgerLine> ledger_of(const std::string& run_directory) {
  const std::string path = run_directory + "/ledger.txt";
  REQUIRE(storage::read_file_if_exists(path), Exit::no_input, path, "there is no ledger here",
          "Name two run directories (the decks' run.dir) that have been trained.");
  int64_t broken_at = 0;
  std::vector<report::LedgerLine> lines = report::read_ledger(path, broken_at);
  REQUIRE(broken_at == 0, Exit::data, fmt::format("{}:{}", path, broken_at),
          "this line does not follow from those before it: the file was changed or damaged",
          "Start the run again: it makes its ledger whole from its newest checkpoint on.");
  return lines;
}

using Pairs = std::map<std::string, std::pair<std::string, std::string>>;

Json differences(const Pairs& pairs) {
  Json different = Json::object();
  for (const auto& [name, values] : pairs)
    if (values.first != values.second) different[name] = {values.first, values.second};
  return different;
}

/// The chain follows from the rest and from the lines before.
Json differences(const report::LedgerLine& a, const report::LedgerLine& b) {
  Pairs fields;
  for (const auto& [name, value] : a.fields()) fields[name].first = value;
  for (const auto& [name, value] : b.fields()) fields[name].second = value;
  return differences(fields);
}

/// What the runs are, where both tell: a run whose record is missing or damaged is compared by its ledger.
Json different_identities(const std::string& a, const std::string& b) {
  std::optional<RunIdentity> of_a, of_b;
  try {
    of_a = read_identity(a);
    of_b = read_identity(b);
  } catch (const Error&) {
  }
  if (!of_a || !of_b) return Json::object();
  Pairs keys;
  for (const auto& [key, value] : of_a->identity.mathematical) keys[key].first = value;
  for (const auto& [key, value] : of_b->identity.mathematical) keys[key].second = value;
  keys["data"] = {of_a->identity.data_fingerprint, of_b->identity.data_fingerprint};
  keys["arithmetic class"] = {of_a->identity.arithmetic_class, of_b->identity.arithmetic_class};
  keys["parent"] = {of_a->parent.manifest_hash, of_b->parent.manifest_hash};
  return differences(keys);
}

std::string differences_text(const Json& different) {
  std::string text;
  const auto shown = [](const Json& value) {
    const std::string as_text = value.get<std::string>();
    return as_text.empty() ? std::string("(nothing)") : as_text;
  };
  for (const auto& [name, values] : different.items())
    text += fmt::format("  {:<12} {}  |  {}\n", name, shown(values[0]), shown(values[1]));
  return text;
}

}  // namespace

Json compare_runs(const std::string& a, const std::string& b) {
  const std::vector<report::LedgerLine> lines_a = ledger_of(a), lines_b = ledger_of(b);
  const size_t both = std::min(lines_a.size(), lines_b.size());
  Json comparison = {
      {"runs", {a, b}}, {"steps", {lines_a.size(), lines_b.size()}}, {"compared", both}, {"same", true}};
  for (size_t i = 0; i < both; ++i) {
    const Json different = differences(lines_a[i], lines_b[i]);
    if (different.empty()) continue;
    comparison["same"] = false;
    comparison["first_difference"] = {{"step", lines_a[i].step}, {"fields", different}};
    break;
  }
  comparison["differing"] = different_identities(a, b);
  return comparison;
}

std::string comparison_text(const Json& comparison) {
  const std::string a = comparison["runs"][0], b = comparison["runs"][1];
  const auto steps_a = comparison["steps"][0].get<int64_t>(), steps_b = comparison["steps"][1].get<int64_t>();
  std::string text;
  if (comparison["same"]) {
    text = fmt::format("{} and {} are the same in all {} steps that both have", a, b,
                       comparison["compared"].get<int64_t>());
    text += steps_a == steps_b ? ".\n"
                               : fmt::format("; {} goes on to step {}.\n", steps_a > steps_b ? a : b,
                                             std::max(steps_a, steps_b));
  } else {
    const Json& first = comparison["first_difference"];
    text = fmt::format("{} and {} part at step {}:\n{}", a, b, first["step"].get<int64_t>(),
                       differences_text(first["fields"]));
  }
  if (!comparison["differing"].empty())
    text += "They are not the same run:\n" + differences_text(comparison["differing"]);
  return text;
}

Exit compare(const Options& options) {
  const Json comparison = compare_runs(options.target, options.other);
  std::cout << (options.json ? comparison.dump(2) + "\n" : comparison_text(comparison));
  return comparison["same"] ? Exit::done : Exit::different;
}

}  // namespace lepton::train
