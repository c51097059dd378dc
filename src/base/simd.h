// SPDX-License-Identifier: Apache-2.0
// LEPTON_SIMD before a function compiles it for AVX-512 and AVX2 machines too and picks at load time. The
// project is built with -ffp-contract=off, so every clone of an elementwise loop gives the same bits; never
// put it on a function whose bits depend on the order of a floating-point sum unless that order is written
// out.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define LEPTON_SIMD [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#else
#define LEPTON_SIMD
#endif
