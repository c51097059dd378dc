// SPDX-License-Identifier: Apache-2.0
// Who holds the lock of a run directory, asked without taking it. Called by the command `status`.
#pragma once

#include <optional>
#include <string>

namespace lepton::storage {

/// The owner's record when somebody holds the DirectoryLock of `directory`; nothing when it is free.
std::optional<std::string> directory_lock_owner(const std::string& directory);

}  // namespace lepton::storage
