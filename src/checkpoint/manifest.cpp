// SPDX-License-Identifier: Apache-2.0
// Manifest to JSON and back (nlohmann-json, keys in a fixed order). The checksum is compared as text before
// the JSON is parsed, so a flipped bit anywhere in the file is found, be it in white space.
#include "checkpoint/manifest.h"

#include <cctype>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/hash.h"
#include "storage/parity.h"

namespace lepton::checkpoint {

namespace {

using Json = nlohmann::ordered_json;

constexpr char checksum_prefix[] = "{\n  \"checksum\": \"";
constexpr char checksum_suffix[] = "\",\n";
constexpr int64_t elements_max = int64_t{1} << 50;  // so that no sum of sizes overflows
constexpr int oldest_format = 1, known_format = 2;

std::string numbered(const char* format, int64_t number) {
  char text[64];
  std::snprintf(text, sizeof text, format, static_cast<long long>(number));
  return text;
}

Json identity_json(const Identity& identity) {
  return {{"arithmetic_class", identity.arithmetic_class},
          {"data_fingerprint", identity.data_fingerprint},
          {"mathematical", identity.mathematical}};
}

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

[[noreturn]] void damaged(const std::string& path, const std::string& what) {
  fail(Exit::data, path, what, "The manifest is damaged or was not written by Lepton.");
}

/// What the checksum covers: everything behind its line.
std::string_view checked_body(const std::string& text, const std::string& path) {
  const std::string_view all(text), prefix(checksum_prefix), suffix(checksum_suffix);
  const size_t begin = prefix.size() + 16 + suffix.size();
  if (all.size() <= begin || all.substr(0, prefix.size()) != prefix ||
      all.substr(begin - suffix.size(), suffix.size()) != suffix)
    damaged(path, "does not begin as a manifest does");
  const std::string_view body = all.substr(begin);
  if (all.substr(prefix.size(), 16) != hex64(hash64(body))) damaged(path, "the checksum does not fit");
  return body;
}

Manifest from_json(const Json& json) {
  Manifest manifest;
  manifest.format = json.at("format").get<int>();
  manifest.step = json.at("step").get<int64_t>();
  manifest.layout.elements = json.at("elements").get<int64_t>();
  manifest.layout.shard_elements = json.at("shard_elements").get<int64_t>();
  manifest.layout.arrays = json.at("arrays").get<std::vector<std::string>>();
  if (manifest.format > 1) manifest.parity = json.at("parity").get<int>();
  const Json& identity = json.at("identity");
  manifest.identity.arithmetic_class = identity.at("arithmetic_class").get<std::string>();
  manifest.identity.data_fingerprint = identity.at("data_fingerprint").get<std::string>();
  manifest.identity.mathematical = identity.at("mathematical").get<std::map<std::string, std::string>>();
  for (const Json& file : json.at("files"))
    manifest.files.push_back({file.at("name").get<std::string>(), file.at("bytes").get<int64_t>(),
                              parse_hex64(file.at("hash").get<std::string>())});
  return manifest;
}

void require_consistent(const Manifest& manifest, const std::string& path) {
  const StateLayout& layout = manifest.layout;
  const std::set<std::string> distinct(layout.arrays.begin(), layout.arrays.end());
  if (manifest.step < 0 || layout.elements <= 0 || layout.elements > elements_max ||
      layout.shard_elements <= 0 || layout.shard_elements > elements_max || layout.arrays.empty() ||
      distinct.size() != layout.arrays.size())
    damaged(path, "step, elements or arrays are impossible");
  if (manifest.parity < 0 || manifest.parity > storage::parity_blocks_max)
    damaged(path, "the parity is impossible");
  const size_t contents = manifest.content_files(), shards = contents - 1;
  if (manifest.files.size() != contents * (manifest.parity > 0 ? 2 : 1))
    damaged(path, "files are missing in the list");
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    const size_t of = i % contents;
    const std::string name = of < shards ? shard_name(static_cast<int64_t>(of)) : state_name;
    if (manifest.files[i].name != (i < contents ? name : parity_name(name)))
      damaged(path, "the files have wrong names or order");
    if (manifest.files[i].bytes < 0) damaged(path, "a file has a negative size");
  }
}

}  // namespace

std::string shard_name(int64_t shard) {
  return numbered("shard-%05lld.h5", shard);
}

std::string parity_name(const std::string& file) {
  return file + ".parity";
}

std::string step_name(int64_t step) {
  return numbered("step-%08lld", step);
}

std::optional<int64_t> parse_step_name(std::string_view name) {
  if (name.substr(0, 5) != "step-" || name.size() < 13 || name.size() > 23) return std::nullopt;
  int64_t step = 0;
  for (const char digit : name.substr(5)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    step = 10 * step + (digit - '0');
  }
  if (step_name(step) != name) return std::nullopt;
  return step;
}

uint64_t identity_hash(const Identity& identity) {
  return hash64(dump(identity_json(identity)));
}

std::string Manifest::encode() const {
  Json list = Json::array();
  for (const File& file : files)
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"hash", hex64(file.hash)}});
  Json json = {{"format", format},
               {"step", step},
               {"elements", layout.elements},
               {"shard_elements", layout.shard_elements},
               {"arrays", layout.arrays},
               {"identity", identity_json(identity)}};
  if (format > 1) json["parity"] = parity;
  json["files"] = std::move(list);
  const std::string body = dump(json).substr(2) + "\n";  // without "{\n", which the checksum's line brings
  return checksum_prefix + hex64(hash64(body)) + checksum_suffix + body;
}

Manifest Manifest::decode(const std::string& text, const std::string& path) {
  const std::string body = "{\n" + std::string(checked_body(text, path));
  Manifest manifest;
  try {
    const Json json = Json::parse(body);
    const int format = json.at("format").get<int>();
    REQUIRE(
        format >= oldest_format && format <= known_format, Exit::data, path,
        "has format " + std::to_string(format) + "; this Lepton knows up to " + std::to_string(known_format),
        "Use the version of Lepton that wrote it, or a newer one.");
    manifest = from_json(json);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {  // nlohmann-json, parse_hex64
    damaged(path, error.what());
  }
  require_consistent(manifest, path);
  return manifest;
}

}  // namespace lepton::checkpoint
