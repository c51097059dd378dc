// SPDX-License-Identifier: Apache-2.0
// 128-bit integers, which GCC and Clang have and ISO C++ has not; named once, so that -Wpedantic stays on.
#pragma once

namespace lepton {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

}  // namespace lepton
