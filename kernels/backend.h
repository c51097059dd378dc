// SPDX-License-Identifier: Apache-2.0
// Memory, streams, events and graphs of one CUDA device behind tensor/backend.h. The device is the calling
// thread's current one. Made by kernels/engine.cu.
#pragma once

#include <memory>

#include "kernels/context.h"
#include "tensor/backend.h"

namespace lepton::cuda {

std::unique_ptr<Backend> make_backend(int index);
/// The stream of a queue that such a backend made.
cudaStream_t stream_of(Queue& queue);

}  // namespace lepton::cuda
