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
  }
  stays_ = true;
  const RunSpec& run = job.deck.run;
  remove_former_ = [&world = job.world, &run, generation] {
    remove_kept(world, run.shm_directory, run.directory, generation);
  };
  redundant_.emplace(job, run.keep_state ? copies_name(run.directory, generation, job.world.node()) : "",
                     generation, identity, remove_former_);
  job.world.barrier();  // all have them
  remove_kept(job.world, run.shm_directory, run.directory, generation,
              state.step == 0 || !redundant_->exists());
}

void KeptFile::remove() {
  if (!node_.kept_path().empty()) unlink(node_.kept_path().c_str());
  if (redundant_) redundant_->remove();
  if (remove_former_) remove_former_();
}

}  // namespace lepton::train
