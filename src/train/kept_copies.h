// SPDX-License-Identifier: Apache-2.0
// Copies of a state with parity (redundant_state.h) that dead processes have left: what is whole of them,
// whether that is enough, and the state from them, with the parts of lost nodes computed. Called by
// kept_search.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "train/kept_part.h"

namespace lepton::train {

/// What a slot of a file with this label holds, verified; nothing where the file is too short.
std::optional<KeptPart> look_at_copy(std::span<std::byte> file, const KeptLabel& label, int slot);
/// All nodes of the copy, by number, of which one part is there: rank is -1 where there is nothing of a node.
/// Nothing where more is lost than parity gives back.
std::vector<KeptPart> copies_of(const std::vector<KeptPart>& parts);
/// **Collective.** All of the state, array by array (parameters, moments) in pieces: to every rank.
/// Throws Error(io), the same on all ranks, where a file is gone meanwhile or what was computed is not what
/// the node had.
void read_copies(const comm::World& world, const std::vector<KeptPart>& copies,
                 const std::function<void(int array, int64_t begin, std::span<const float> values)>& take);

}  // namespace lepton::train
