// SPDX-License-Identifier: Apache-2.0
// One two-dimensional convolution as cuDNN takes it: descriptors, algorithms and workspaces, all made when
// planned. Images are nhwc, weights channels last ([filters, kernel h, kernel w, channels / groups]), pads
// the same before and after. Elements are float32, or bfloat16 throughout where the precision is bf16:
// sums are float32 inside, but this interface of cuDNN then writes results as bfloat16 too.
// Algorithms come from fixed lists of deterministic ones, so bits depend on shapes, the type of GPU and the
// library's version alone. Used by conv.cu.
#pragma once

#include <string>

#include "kernels/libraries.h"

namespace lepton::cuda {

/// A descriptor of cuDNN: made, and destroyed.
template <class Handle, cudnnStatus_t (*create)(Handle*), cudnnStatus_t (*destroy)(Handle)>
class DnnDescriptor {
 public:
  DnnDescriptor() { check(create(&handle_), "cudnnCreate...Descriptor"); }
  DnnDescriptor(const DnnDescriptor&) = delete;
  DnnDescriptor& operator=(const DnnDescriptor&) = delete;
  ~DnnDescriptor() { destroy(handle_); }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

/// Of images (two axes, channels last, operands in the context's precision) or of anything as planes
/// (channels first, two or three axes, float32).
struct ConvolutionShape {
  int64_t samples = 0, groups = 1, channels = 0, filters = 0;
  int axes = 2;
  bool planes = false;
  int64_t input[3] = {}, output[3] = {}, kernel[3] = {}, stride[3] = {}, dilation[3] = {}, pad[3] = {};
  std::string text() const;
};

class CudnnConvolution {
 public:
  /// Plans forward. Throws Error(deck), which names the shape, where no deterministic algorithm takes it.
  CudnnConvolution(const Context&, const ConvolutionShape&);
  /// Plans backward too; without `data` only the gradient of weights.
  void plan_backward(bool data);

  size_t forward_workspace_bytes() const { return forward_bytes_; }
  size_t backward_workspace_bytes() const { return backward_bytes_; }

  /// y = x * weights
  void forward(const void* x, const void* weights, void* y, std::byte* workspace) const;
  /// dx from dy
  void backward_data(const void* dy, const void* weights, void* dx, std::byte* workspace) const;
  /// dw from x and dy
  void backward_weights(const void* x, const void* dy, void* dw, std::byte* workspace) const;

 private:
  const Context& context_;
  ConvolutionShape shape_;
  DnnDescriptor<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor> x_, y_;
  DnnDescriptor<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor> weights_;
  DnnDescriptor<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor,
                cudnnDestroyConvolutionDescriptor>
      convolution_;
  cudnnConvolutionFwdAlgo_t forward_ = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
  cudnnConvolutionBwdDataAlgo_t data_ = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
  cudnnConvolutionBwdFilterAlgo_t filter_ = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
  size_t forward_bytes_ = 0, backward_bytes_ = 0;
};

}  // namespace lepton::cuda
