// SPDX-License-Identifier: Apache-2.0
// The one symbol that liblepton_cuda.so exports (src/ops/cuda_module.h has its meaning).
#include <string>

#include "kernels/context.h"
#include "kernels/engine.h"
#include "kernels/nccl_group.h"
#include "ops/cuda_module.h"

namespace lepton::cuda {

namespace {

std::string dotted(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string libraries() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  std::string absence;
  const std::string nccl = nccl_version(absence);
  return "CUDA " + dotted(runtime) + ", " + library_versions() + ", " +
         (nccl.empty() ? "no NCCL (" + absence + ")" : nccl);
}

/// As nvidia-smi -L prints it, without dashes.
std::string uuid_of(int index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  std::string text = "GPU-";
  for (const char byte : properties.uuid.bytes)
    for (const int shift : {4, 0}) text += "0123456789abcdef"[(byte >> shift) & 15];
  return text;
}

std::vector<std::string> devices(std::string& absence) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  std::vector<std::string> found;
  for (int i = 0; status == cudaSuccess && i < count; ++i) found.push_back(uuid_of(i));
  if (found.empty())
    absence =
        status == cudaSuccess ? "CUDA finds none" : std::string("CUDA says: ") + cudaGetErrorString(status);
  return found;
}

std::unique_ptr<DeviceGroup> join(ops::Engine& engine, const std::string& id, int node, int nodes,
                                  double deadline_s) {
  return join_nccl_group(*engine.backend, *engine.queue, id, node, nodes, deadline_s);
}

}  // namespace

}  // namespace lepton::cuda

extern "C" [[gnu::visibility("default")]] const lepton::ops::CudaModule* lepton_cuda_module() {
  using namespace lepton::cuda;
  static const lepton::ops::CudaModule module{LEPTON_VERSION, libraries,     devices, open_engine,
                                              nccl_version,   nccl_group_id, join};
  return &module;
}
