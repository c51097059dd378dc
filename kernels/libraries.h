// SPDX-License-Identifier: Apache-2.0
// cuBLASLt and cuDNN, for the few files that call them: their headers take longer to compile than most
// kernels. The handles are in Context.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

#include "kernels/context.h"

namespace lepton::cuda {

/// Throw Error(software) that names the call and the library's own text.
void check(cublasStatus_t status, const char* call);
void check(cudnnStatus_t status, const char* call);

}  // namespace lepton::cuda
