// SPDX-License-Identifier: Apache-2.0
// The commit protocol of DESIGN section 6, its end. The order of calls is the protocol: do not rearrange.
#include "checkpoint/commit.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "checkpoint/reader.h"
#include "storage/file.h"
#include "storage/parity.h"

namespace lepton::checkpoint {

namespace {

constexpr char unfinished_suffix[] = ".tmp";

bool contains(const std::string& directory, const std::string& name) {
  const std::vector<std::string> names = storage::list_directory(directory);
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// On a shared file system another node's file may take a moment to appear here; on local disks it never
/// does.
void await_files(const std::string& path, const Manifest& manifest, double patience_s) {
  for (const double begun_s = now_s();;) {
    const std::vector<std::string> names = storage::list_directory(path);
    const auto missing = std::find_if(manifest.files.begin(), manifest.files.end(), [&](const auto& file) {
      return std::find(names.begin(), names.end(), file.name) == names.end();
    });
    if (missing == manifest.files.end()) return;
    REQUIRE(now_s() - begun_s < patience_s, Exit::io, path + "/" + missing->name,
            "was written by another node and cannot be seen here",
            "The run directory must be on a file system that all nodes share (run.dir).");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

bool intact(const std::string& checkpoint) {
  try {
    return verify(checkpoint).empty();
  } catch (const Error&) {  // unreadable
    return false;
  }
}

bool is_step_with(std::string_view name, std::string_view suffix) {
  return name.ends_with(suffix) && parse_step_name(name.substr(0, name.size() - suffix.size()));
}

void require_owned(const Place& place) {
  if (place.still_owned) place.still_owned();
}

void move_aside(const std::string& directory, const std::string& name) {
  for (int k = 1;; ++k) {
    const std::string aside = name + ".damaged-" + std::to_string(k);
    if (contains(directory, aside)) continue;
    log_warning("checkpoint " + name + " was there already and is damaged; it is now " + aside + ".");
    return storage::rename_durably(directory + "/" + name, directory + "/" + aside);
  }
}

}  // namespace

std::string unfinished_path(const Place& place, int64_t step) {
  return place.directory + "/" + step_name(step) + unfinished_suffix + "-" + std::to_string(place.generation);
}

void commit_checkpoint(const Place& place, const Manifest& manifest, double patience_s) {
  const std::string& directory = place.directory;
  const std::string name = step_name(manifest.step), unfinished = unfinished_path(place, manifest.step);
  await_files(unfinished, manifest, patience_s);
  std::string text = manifest.encode();
  const std::string path = directory + "/" + name, previous = path + previous_suffix;
  const bool exists = contains(directory, name), replaces = exists && intact(path);
  if (replaces && storage::read_file(path + "/" + manifest_name) == text)
    return storage::remove_tree(unfinished);
  require_owned(place);
  if (manifest.parity > 0)
    storage::write_file_durably(unfinished + "/" + parity_name(manifest_name),
                                storage::encode_parity(std::as_bytes(std::span(text)), manifest.parity),
                                "checkpoint");
  failpoint("checkpoint.manifest", std::as_writable_bytes(std::span(text)));
  storage::write_file_durably(unfinished + "/" + manifest_name, std::as_bytes(std::span(text)), "checkpoint");
  storage::sync_directory(unfinished);
  failpoint("checkpoint.rename");
  require_owned(place);
  if (replaces)
    storage::rename_durably(path, previous);  // list_checkpoints() knows it by this name
  else if (exists)
    move_aside(directory, name);
  failpoint("checkpoint.replace");
  storage::rename_durably(unfinished, path);
  storage::remove_tree(previous);
}

void prune_checkpoints(const Place& place, int64_t newest, int keep) {
  const std::string& directory = place.directory;
  std::vector<int64_t> steps;
  for (const std::string& name : storage::list_directory(directory))
    if (const std::optional<int64_t> step = parse_step_name(name); step && *step <= newest)
      steps.push_back(*step);
  std::sort(steps.rbegin(), steps.rend());
  for (size_t i = static_cast<size_t>(std::max(keep, 1)); i < steps.size(); ++i) {
    failpoint("checkpoint.prune");
    require_owned(place);
    // By way of the name of an unfinished one, so that a kill in between leaves no half checkpoint.
    const std::string unfinished = unfinished_path(place, steps[i]);
    storage::rename_durably(directory + "/" + step_name(steps[i]), unfinished);
    storage::remove_tree(unfinished);
  }
}

void remove_unfinished(const Place& place, int64_t step) {
  storage::remove_tree(unfinished_path(place, step));
}

void remove_all_unfinished(const std::string& directory) {
  for (const std::string& name : storage::list_directory(directory)) {
    if (const size_t suffix = name.find(unfinished_suffix);
        suffix != std::string::npos && parse_step_name(name.substr(0, suffix))) {
      log_info("Removing " + directory + "/" + name + ", which a run left unfinished.");
      storage::remove_tree(directory + "/" + name);
    } else if (is_step_with(name, previous_suffix)) {
      const std::string of = name.substr(0, name.size() - sizeof previous_suffix + 1);
      if (contains(directory, of))
        storage::remove_tree(directory + "/" + name);
      else
        storage::rename_durably(directory + "/" + name, directory + "/" + of);
    }
  }
}

}  // namespace lepton::checkpoint
