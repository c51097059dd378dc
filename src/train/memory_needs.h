// SPDX-License-Identifier: Apache-2.0
// What a run takes of a host's memory, from deck, metadata and graph alone: the rows once per machine, the
// rest once per node; for the plan that `check` prints, and for the test before training. Reserving more than
// there is ends in the kernel's OOM killer, which names nobody; here it is an error with numbers. Called by
// check and job.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"
#include "model/graph.h"
#include "train/setup.h"
#include "train/threads.h"

namespace lepton::train {

/// Bytes that one node needs, and its machine for the rows, which all its nodes read in place.
struct MemoryNeeds {
  int64_t data = 0;        ///< rows resident on a machine, in their stored type
  int64_t state = 0;       ///< two slots of parameters and moments, the sum, their control
  int64_t checkpoint = 0;  ///< the copy of this node's slice while a checkpoint is in flight
  int64_t staging = 0;     ///< rows of other machines, ahead of use; 0 with one machine
  /// Activations and the largest gradient of the units that a thread has in hand; where it feeds a device,
  /// the rows of those.
  int64_t per_thread = 0;
  int64_t threads = 0;  ///< compute threads of the node
  /// What each node takes for itself, and what a host takes for all its nodes and the rows of its machines.
  int64_t node() const { return state + checkpoint + staging + per_thread * threads; }
  int64_t total(const OnHost& host = {}) const { return data * host.machines + node() * host.nodes; }
  /// "state 1.2 GiB, 8 x 30.0 MiB for compute threads": the largest parts, largest first, at most three.
  std::string largest_parts() const;
};

/// How a job is cut: what needs depend on beside data and network.
struct NodeCut {
  int nodes = 1;
  int machines = 1;     ///< among which the rows are divided
  int threads = 1;      ///< compute threads of the node
  int moments = 0;      ///< arrays of the optimizer per parameter
  int domains = 1;      ///< memory domains of the node, with an accumulator each
  bool device = false;  ///< the node computes on one, whose own memory is tested by job
  ops::Precision precision = ops::Precision::fp32;  ///< of products on the CPU
};

/// The largest node's needs. A job without training steps writes no checkpoint, and needs no copy for it.
MemoryNeeds memory_needs(const data::Dataset& dataset, const model::Graph& graph, const UnitSizes& sizes,
                         const NodeCut& cut);

/// The least number of nodes, each on a machine of its own with `available_bytes`, on which each node's needs
/// fit; 0: no number of nodes would do, because what every node has whole is too large.
int64_t feasible_nodes(const data::Dataset& dataset, const model::Graph& graph, const UnitSizes& sizes,
                       const NodeCut& cut, int64_t available_bytes);

/// Throws Error(memory) at `where` unless what this host's nodes need together fits into what it has left;
/// `needs` of one of them, to tell the largest parts.
void require_memory(const MemoryNeeds& needs, int64_t host_bytes, const OnHost& host, int64_t available_bytes,
                    const std::string& where);

}  // namespace lepton::train
