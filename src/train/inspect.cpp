// SPDX-License-Identifier: Apache-2.0
// Reading what Lepton reads and writes, to say what it is; see the header. Nothing is trusted: sizes that a
// file claims are checked before memory is taken for them.
#include "train/inspect.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/hash.h"
#include "checkpoint/reader.h"
#include "onnx/model_file.h"
#include "ops/parameters_hash.h"
#include "report/ledger.h"
#include "storage/file.h"
#include "storage/hdf5.h"
#include "storage/hdf5_file.h"
#include "storage/safetensors.h"
#include "tensor/arena.h"
#include "train/commands.h"
#include "train/run_record.h"

namespace lepton::train {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Paths of all arrays, also of those that Lepton does not read.
std::vector<std::string> array_paths(const std::string& path) {
  const storage::Hdf5Lock lock(path);
  return storage::dataset_paths(storage::open_file(path, "").get());
}

/// Reads every row, some MiB at a time and whole chunks, as a part of a compressed chunk costs as much as all
/// of it. Returns what is wrong, or "".
std::string array_problem(const storage::Hdf5Array& array) {
  constexpr int64_t block_bytes = 4 << 20;
  const storage::ArrayInfo& info = array.info();
  const auto row_bytes = static_cast<int64_t>(info.row_bytes());
  const int64_t rows = info.shape.front(), chunk = std::max<int64_t>(1, std::min(info.chunk_rows, rows));
  if (rows == 0 || row_bytes == 0) return "";
  const int64_t fitting = std::clamp<int64_t>(block_bytes / row_bytes, 1, rows);
  const int64_t block = (fitting + chunk - 1) / chunk * chunk;
  try {
    std::vector<std::byte> bytes(static_cast<size_t>(std::min(block, rows) * row_bytes));
    for (int64_t begin = 0; begin < rows; begin += block) {
      const int64_t end = std::min(rows, begin + block);
      array.read_rows(begin, end, std::span(bytes).first(static_cast<size_t>((end - begin) * row_bytes)));
    }
    return "";
  } catch (const Error& error) {
    return error.problem();
  }
}

Json inspect_array(const storage::Hdf5Array& array) {
  const storage::ArrayInfo& info = array.info();
  Json report = {{"path", info.path}, {"shape", info.shape}, {"type", info.type.text()}};
  report["bytes"] = element_count(info.shape) * info.type.bytes;
  report["chunk_rows"] = info.chunk_rows;
  report["filtered"] = info.filtered;
  const std::string problem = array_problem(array);
  report["readable"] = problem.empty();
  if (!problem.empty()) report["problem"] = problem;
  return report;
}

Json inspect_dataset(const std::string& path) {
  Json arrays = Json::array(), unreadable = Json::array();
  bool intact = true;
  for (const std::string& name : array_paths(path)) {
    std::optional<storage::Hdf5Array> array;
    try {
      array.emplace(path, name);
    } catch (const Error& error) {
      unreadable.push_back({{"path", name}, {"problem", error.problem()}});
      continue;
    }
    arrays.push_back(inspect_array(*array));
    intact = intact && arrays.back()["readable"].get<bool>();
  }
  return {{"kind", "dataset"},
          {"path", path},
          {"intact", intact},
          {"bytes", fs::file_size(path)},
          {"arrays", std::move(arrays)},
          {"unreadable", std::move(unreadable)}};
}

std::string checkpoint_hash(const std::string& path) {
  const checkpoint::Reader reader(path);
  std::vector<float> arena(static_cast<size_t>(reader.manifest().layout.elements));
  reader.read("parameters", 0, reader.manifest().layout.elements, arena);
  return hex64(ops::parameters_hash(arena));
}

/// Whether it is intact, whether it can be read, and what is damaged.
Json verify_checkpoint(const std::string& path) {
  Json report = {{"path", path}, {"intact", true}, {"readable", true}};
  for (const checkpoint::Damage& damage : checkpoint::verify(path)) {
    report["intact"] = false;
    report["damage"].push_back({{"file", damage.file}, {"what", damage.what}, {"heals", damage.heals}});
    report["readable"] = report["readable"].get<bool>() && damage.heals;
  }
  return report;
}

Json inspect_checkpoint(const std::string& path) {
  Json report = {{"kind", "checkpoint"}};
  report.update(verify_checkpoint(path));
  const fs::path place = fs::path(path + "/.").lexically_normal().parent_path();
  for (const std::string& healing : healing_history(place / "../.."))
    if (healing.find(" " + place.filename().string() + "/") != std::string::npos)
      report["healed"].push_back(healing);
  if (!report["readable"].get<bool>()) return report;
  const checkpoint::Manifest manifest = checkpoint::Reader(path).manifest();
  report["step"] = manifest.step;
  report["elements"] = manifest.layout.elements;
  report["arrays"] = manifest.layout.arrays;
  report["files"] = manifest.files.size();
  report["arithmetic_class"] = manifest.identity.arithmetic_class;
  report["data_fingerprint"] = manifest.identity.data_fingerprint;
  report["mathematical"] = manifest.identity.mathematical;
  report["parameters_hash"] = checkpoint_hash(path);
  return report;
}

/// The arena that a model's tensors were cut from, by its metadata; nothing where that is absent or does not
/// fit.
std::optional<std::vector<float>> arena_of(const storage::SafetensorsFile& file) {
  const auto text = file.metadata.find("lepton.layout");
  if (text == file.metadata.end()) return std::nullopt;
  const nlohmann::json layout = nlohmann::json::parse(text->second, nullptr, false);
  if (!layout.is_object() || !layout.contains("elements") || !layout["elements"].is_number_unsigned() ||
      !layout.contains("offsets") || !layout["offsets"].is_object())
    return std::nullopt;
  uint64_t most = block_elements;
  for (const auto& [name, entry] : file.tensors) most += entry.values.size() + 16;
  const auto elements = layout["elements"].get<uint64_t>();
  if (elements > most) return std::nullopt;
  std::vector<float> arena(elements);
  for (const auto& [name, entry] : file.tensors) {
    if (!layout["offsets"].contains(name) || !layout["offsets"][name].is_number_unsigned())
      return std::nullopt;
    const auto offset = layout["offsets"][name].get<uint64_t>();
    if (offset > elements || entry.values.size() > elements - offset) return std::nullopt;
    std::copy(entry.values.begin(), entry.values.end(), arena.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  return arena;
}

Json inspect_model(const std::string& path) {
  const storage::SafetensorsFile file = storage::read_safetensors(path);
  Json tensors = Json::array();
  int64_t values = 0;
  for (const auto& [name, entry] : file.tensors) {
    tensors.push_back({{"name", name}, {"shape", entry.shape}});
    values += static_cast<int64_t>(entry.values.size());
  }
  Json report = {
      {"kind", "model"}, {"path", path}, {"intact", true}, {"values", values}, {"tensors", tensors}};
  for (const auto& [name, text] : file.metadata)
    if (name != "lepton.layout") report["metadata"][name] = text;
  if (const auto arena = arena_of(file)) report["parameters_hash"] = hex64(ops::parameters_hash(*arena));
  return report;
}

Json inspect_run(const std::string& path) {
  Json report = {
      {"kind", "run"}, {"path", path}, {"intact", true}, {"deck", fs::exists(path + "/deck.toml")}};
  report["ledger"] = inspect_ledger(path);
  report["checkpoints"] = Json::array();
  for (const std::string& checkpoint : checkpoint::list_checkpoints(path + "/checkpoints")) {
    Json found = verify_checkpoint(checkpoint);
    if (found["readable"].get<bool>() && !report.contains("newest_valid"))
      report["newest_valid"] = checkpoint;
    report["checkpoints"].push_back(std::move(found));
  }
  for (const std::string& healing : healing_history(path)) report["healed"].push_back(healing);
  const bool chain_holds = report["ledger"].is_null() || report["ledger"]["chain_holds"].get<bool>();
  const bool some_valid = report["checkpoints"].empty() || report.contains("newest_valid");
  report["intact"] = chain_holds && some_valid;
  for (const char* model : {"model.safetensors", "best.safetensors"})
    if (fs::exists(path + "/" + model)) report["models"].push_back(model);
  if (report.contains("newest_valid")) report["parameters_hash"] = checkpoint_hash(report["newest_valid"]);
  return report;
}

Json inspect_onnx(const std::string& path) {
  const onnx::Summary summary = onnx::summarise(path);
  Json report = {{"kind", "onnx"},
                 {"path", path},
                 {"intact", true},
                 {"producer", summary.producer},
                 {"opset", summary.opset},
                 {"inputs", summary.inputs},
                 {"outputs", summary.outputs},
                 {"values", summary.values}};
  report["operators"] = Json::object();
  for (const auto& [type, count] : summary.operators) report["operators"][type] = count;
  report["tensors"] = Json::array();
  for (const auto& [name, shape] : summary.tensors)
    report["tensors"].push_back({{"name", name}, {"shape", shape}});
  return report;
}

bool is_hdf5(const std::string& path) {
  const std::string signature = "\x89HDF\r\n\x1a\n";
  std::string head(signature.size(), '\0');
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  const bool whole = std::fread(head.data(), 1, head.size(), file) == head.size();
  std::fclose(file);
  return whole && head == signature;
}

// ---- for people -------------------------------------------------------------------------------------------

std::string field(const std::string& name, const std::string& value) {
  return name + ": " + value + "\n";
}

std::string damage_text(const Json& checkpoint) {
  std::string text;
  for (const Json& damage : checkpoint.value("damage", Json::array()))
    text += (damage["heals"].get<bool>() ? "  heals: " : "  damaged: ") + damage["file"].get<std::string>() +
            ": " + damage["what"].get<std::string>() + "\n";
  return text;
}

std::string healed_text(const Json& report) {
  std::string text;
  for (const Json& healing : report.value("healed", Json::array())) text += field("healed", healing);
  return text;
}

std::string dataset_text(const Json& report) {
  std::string text;
  for (const Json& array : report["arrays"]) {
    text += "  " + array["path"].get<std::string>() + "  " + array["type"].get<std::string>() + " " +
            shape_text(array["shape"].get<Shape>());
    const auto chunk_rows = array["chunk_rows"].get<int64_t>();
    text += chunk_rows > 0 ? ", chunks of " + std::to_string(chunk_rows) + " rows" : ", contiguous";
    if (array["filtered"].get<bool>()) text += ", compressed";
    text +=
        array["readable"].get<bool>() ? "\n" : "\n    damaged: " + array["problem"].get<std::string>() + "\n";
  }
  for (const Json& array : report["unreadable"])
    text +=
        "  " + array["path"].get<std::string>() + "  not read: " + array["problem"].get<std::string>() + "\n";
  return text;
}

std::string checkpoint_text(const Json& report) {
  std::string text = damage_text(report) + healed_text(report);
  if (!report.contains("step")) return text;
  text += field("step", std::to_string(report["step"].get<int64_t>()));
  text += field("elements", std::to_string(report["elements"].get<int64_t>()));
  std::string arrays;
  for (const Json& name : report["arrays"]) arrays += (arrays.empty() ? "" : ", ") + name.get<std::string>();
  text += field("arrays", arrays);
  text += field("arithmetic class", report["arithmetic_class"]);
  return text + field("data fingerprint", report["data_fingerprint"]);
}

std::string run_text(const Json& report) {
  std::string text;
  if (const Json& ledger = report["ledger"]; !ledger.is_null()) {
    text +=
        field("ledger", std::to_string(ledger["lines"].get<int64_t>()) + " steps, the chain " +
                            (ledger["chain_holds"].get<bool>()
                                 ? "holds"
                                 : "breaks at line " + std::to_string(ledger["broken_at"].get<int64_t>())));
  }
  for (const Json& checkpoint : report["checkpoints"])
    text +=
        field("checkpoint", checkpoint["path"].get<std::string>() +
                                (checkpoint["intact"].get<bool>()     ? ", intact"
                                 : checkpoint["readable"].get<bool>() ? ", damaged, heals at the next start"
                                                                      : ", damaged")) +
        damage_text(checkpoint);
  text += healed_text(report);
  if (report.contains("newest_valid")) text += field("newest valid", report["newest_valid"]);
  for (const Json& model : report.value("models", Json::array())) text += field("model", model);
  return text;
}

std::string model_text(const Json& report) {
  std::string text = field("values", std::to_string(report["values"].get<int64_t>()));
  for (const Json& tensor : report["tensors"])
    text += "  " + tensor["name"].get<std::string>() + "  " + shape_text(tensor["shape"].get<Shape>()) + "\n";
  const Json metadata = report.value("metadata", Json::object());  // items() does not keep a temporary alive
  for (const auto& [name, value] : metadata.items()) text += field(name, value);
  return text;
}

std::string onnx_text(const Json& report) {
  std::string text = field("producer", report["producer"]);
  text += field("opset", std::to_string(report["opset"].get<int64_t>()));
  for (const Json& input : report["inputs"]) text += field("input", input);
  for (const Json& output : report["outputs"]) text += field("output", output);
  for (const auto& [type, count] : report["operators"].items())
    text += "  " + std::to_string(count.get<int64_t>()) + " x " + type + "\n";
  for (const Json& tensor : report["tensors"])
    text += "  " + tensor["name"].get<std::string>() + "  " + tensor["shape"].get<std::string>() + "\n";
  return text + field("values", std::to_string(report["values"].get<int64_t>()));
}

}  // namespace

Json inspect_ledger(const std::string& run_directory) {
  const std::string path = run_directory + "/ledger.txt";
  if (!fs::exists(path)) return nullptr;
  int64_t broken_at = 0;
  const std::vector<report::LedgerLine> lines = report::read_ledger(path, broken_at);
  Json ledger = {{"lines", lines.size()}, {"chain_holds", broken_at == 0}, {"broken_at", broken_at}};
  if (!lines.empty()) {
    ledger["step"] = lines.back().step;
    ledger["epoch"] = lines.back().epoch;
    ledger["loss"] = lines.back().loss;
    ledger["chain"] = hex64(lines.back().chain);
  }
  return ledger;
}

Json inspect_path(const std::string& path) {
  REQUIRE(fs::exists(path), Exit::no_input, path, "there is no such file or directory", "");
  if (fs::is_directory(path)) {
    if (checkpoint::is_checkpoint(path)) return inspect_checkpoint(path);
    const bool run = fs::exists(path + "/ledger.txt") || fs::exists(path + "/checkpoints") ||
                     fs::exists(path + "/deck.toml");
    REQUIRE(run, Exit::data, path, "this directory is neither a run nor a checkpoint",
            "A run has ledger.txt and checkpoints/, a checkpoint has manifest.json (written last).");
    return inspect_run(path);
  }
  if (is_hdf5(path)) return inspect_dataset(path);
  if (fs::path(path).extension() == ".onnx") return inspect_onnx(path);
  REQUIRE(fs::path(path).extension() == ".safetensors", Exit::data, path,
          "this file is neither HDF5 nor safetensors nor ONNX",
          "Give a dataset, a checkpoint, a run or a model.");
  return inspect_model(path);
}

std::string inspection_text(const Json& report) {
  const std::string kind = report["kind"];
  const bool some_unread = kind == "dataset" && !report["unreadable"].empty();
  const bool heals = kind == "checkpoint" && report["readable"].get<bool>();
  std::string text = kind + " " + report["path"].get<std::string>() +
                     (!report["intact"].get<bool>() ? heals ? ": DAMAGED, all of it heals\n" : ": DAMAGED\n"
                      : some_unread                 ? ": intact, as far as Lepton reads it\n"
                                                    : ": intact\n");
  if (kind == "dataset") text += dataset_text(report);
  if (kind == "checkpoint") text += checkpoint_text(report);
  if (kind == "run") text += run_text(report);
  if (kind == "model") text += model_text(report);
  if (kind == "onnx") text += onnx_text(report);
  if (report.contains("parameters_hash")) text += field("parameters_hash", report["parameters_hash"]);
  return text;
}

Exit inspect(const Options& options) {
  const Json report = inspect_path(options.target);
  std::cout << (options.json ? report.dump(2) + "\n" : inspection_text(report));
  return report["intact"].get<bool>() ? Exit::done : Exit::data;
}

}  // namespace lepton::train
