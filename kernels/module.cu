// SPDX-License-Identifier: Apache-2.0
// The one symbol that liblepton_cuda.so exports (src/ops/cuda_module.h has its meaning).
#include <string>

#include "kernels/engine.h"
#include "ops/cuda_module.h"

namespace lepton::cuda {

namespace {

std::string dotted(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string libraries() {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  return "CUDA " + dotted(runtime) + ", " + library_versions();
}

int devices(std::string& absence) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  absence =
      status == cudaSuccess ? "CUDA finds none" : std::string("CUDA says: ") + cudaGetErrorString(status);
  return 0;
}

}  // namespace

}  // namespace lepton::cuda

extern "C" [[gnu::visibility("default")]] const lepton::ops::CudaModule* lepton_cuda_module() {
  static const lepton::ops::CudaModule module{LEPTON_VERSION, lepton::cuda::libraries, lepton::cuda::devices,
                                              lepton::cuda::open_engine};
  return &module;
}
