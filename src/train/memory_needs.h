// SPDX-License-Identifier: Apache-2.0
// What a run takes of a node's memory, from deck, metadata and graph alone: for the plan that `check` prints,
// and for the test before training. Reserving more than there is ends in the kernel's OOM killer, which names
// nobody; here it is an error with numbers. Called by check and job.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"
#include "model/graph.h"
#include "train/setup.h"

namespace lepton::train {

/// Bytes that one node needs (issue: "Memory"): the dataset's part once, the state once, and what each thread
/// has.
struct MemoryNeeds {
  int64_t data = 0;        ///< rows resident on a node, in their stored type
  int64_t state = 0;       ///< two slots of parameters and moments, the sum, their control
  int64_t checkpoint = 0;  ///< the copy of this node's slice while a checkpoint is in flight
  int64_t staging = 0;     ///< rows of other nodes, ahead of use; 0 with one node
  /// Activations and the largest gradient of the units that a thread has in hand; where it feeds a device,
  /// the rows of those.
  int64_t per_thread = 0;
  int64_t threads = 0;  ///< compute threads of the node
  int64_t total() const { return data + state + checkpoint + staging + per_thread * threads; }
  /// "state 1.2 GiB, 8 x 30.0 MiB for compute threads": the largest parts, largest first, at most three.
  std::string largest_parts() const;
};

/// How a job is cut: what needs depend on beside data and network.
struct NodeCut {
  int nodes = 1;
  int threads = 1;      ///< compute threads of the node
  int moments = 0;      ///< arrays of the optimizer per parameter
  int domains = 1;      ///< memory domains of the node, with an accumulator each
  bool device = false;  ///< the node computes on one, whose own memory is tested by job
  ops::Precision precision = ops::Precision::fp32;  ///< of products on the CPU
};

/// The largest node's needs. A job without training steps writes no checkpoint, and needs no copy for it.
MemoryNeeds memory_needs(const data::Dataset& dataset, const model::Graph& graph, const UnitSizes& sizes,
                         const NodeCut& cut);

/// The least number of nodes, each with `available_bytes` to itself, on which each node's needs fit; 0: no
/// number of nodes would do, because what every node has whole is too large.
int64_t feasible_nodes(const data::Dataset& dataset, const model::Graph& graph, const UnitSizes& sizes,
                       const NodeCut& cut, int64_t available_bytes);

/// Throws Error(memory) at `where` unless `nodes_on_machine` nodes with these needs fit into what the machine
/// has left.
void require_memory(const MemoryNeeds& needs, int nodes_on_machine, int64_t available_bytes,
                    const std::string& where);

}  // namespace lepton::train
