// SPDX-License-Identifier: Apache-2.0
// See the header.
#include "train/kept_file.h"

#include <unistd.h>

#include "train/kept_search.h"

namespace lepton::train {

void KeptFile::begin(const Job& job, int64_t generation, const checkpoint::Identity& identity,
                     const RunState& state) {
  if (!node_.kept_path().empty()) {
    node_.kept().begin({generation, job.world.node(), job.world.nodes(), node_.moments(),
                        job.graph.layout.elements(), node_.slice_begin(), node_.slice_end()},
                       identity);
    std::string small;
    state.encode_onto(state.encode(), state.pending, small);
    if (state.step > 0) node_.kept().commit(state.step, 0, small);
    stays_ = true;
  }
  const RunSpec& run = job.deck.run;
  const std::string name = kept_name(run.directory, generation, job.world.node());
  redundant_.emplace(job, run.keep_state ? name + "-copy" : "", generation, identity);
  job.world.barrier();  // all have them
  remove_kept(job.world, run.shm_directory, run.directory, generation);
}

void KeptFile::remove() {
  if (!node_.kept_path().empty()) unlink(node_.kept_path().c_str());
  if (redundant_) redundant_->remove();
}

}  // namespace lepton::train
