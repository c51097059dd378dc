// SPDX-License-Identifier: Apache-2.0
// What proves a checkpoint and what heals it. Order of trust: the manifest proves itself by its checksum,
// files are proven by the manifest, and only what is proven is parsed. Where a file is not what was written,
// its parity file may give it back, in memory for who reads and on disk by heal(); what it gives is proven
// like any other bytes. Called by the reader, the commit, train and inspect.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"

namespace lepton::checkpoint {

struct Damage {
  std::string file, what;  ///< file: its name inside the checkpoint
  bool heals = false;      ///< what was written can be restored, and is what a reader gets
};

/// **Local.** Whether this directory is a checkpoint, damaged or not: there is a manifest, or what heals it.
bool is_checkpoint(const std::string& path);
/// **Local.** The manifest of a checkpoint directory, restored where that is needed. Error(data), (no_input).
Manifest read_manifest(const std::string& checkpoint);
/// **Local.** The proven bytes of a file of the manifest, restored where that is needed. Error(data,
/// no_input).
std::string read_proven(const std::string& checkpoint, const Manifest& manifest, const Manifest::File& file);

/// **Local.** Everything wrong with one checkpoint; empty: intact. Reads all bytes. Files that the manifest
/// does not name are nobody's business.
std::vector<Damage> verify(const std::string& checkpoint);
/// **Local.** Of the manifest and its parity file alone; `manifest` is filled unless some damage does not
/// heal.
std::vector<Damage> verify_manifest(const std::string& checkpoint, Manifest& manifest);
/// **Local.** Of the files first, first + stride, ... of the content, and of their parity files.
std::vector<Damage> verify_files(const std::string& checkpoint, const Manifest& manifest, size_t first,
                                 size_t stride);
/// Whether a checkpoint with these damages can still be read.
bool readable(std::span<const Damage> damages);

/// **Local.** Writes the files anew that are damaged and heal, each whole by rename; the last step of a
/// reader who owns the run. Returns what was healed. Error(io).
std::vector<Damage> heal(const std::string& checkpoint);

}  // namespace lepton::checkpoint
