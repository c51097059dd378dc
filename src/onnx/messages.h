// SPDX-License-Identifier: Apache-2.0
// The messages of ONNX files, as the distribution packages them (libonnx-dev): protobuf's, in namespace
// ::onnx, which is called messages here. Fields that a newer ONNX has are kept by protobuf and not read.
#pragma once

#include <onnx/onnx_pb.h>

namespace lepton::onnx {

namespace messages = ::onnx;

}  // namespace lepton::onnx
