// SPDX-License-Identifier: Apache-2.0
// Descriptors, algorithms and calls of cuDNN's convolutions (see cudnn_convolution.h), through the functions
// that name an algorithm and document whether it is deterministic: nothing is left to heuristics, and
// nothing is timed. Not every shape is taken in every precision; which, cuDNN says when asked for workspace.
#include "kernels/cudnn_convolution.h"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace lepton::cuda {

namespace {

int as_int(int64_t value) {
  CHECK(value >= 0 && value <= INT32_MAX, "a dimension beyond cuDNN's");
  return static_cast<int>(value);
}

cudnnMathType_t math_type(ops::Precision precision) {
  switch (precision) {
    case ops::Precision::fp32:
      return CUDNN_FMA_MATH;
    case ops::Precision::tf32:
      // Tensor cores in TF32 where they pay. Not ..._ALLOW_CONVERSION: it may round to half precision, whose
      // range is too small.
      return CUDNN_DEFAULT_MATH;
    case ops::Precision::bf16:
      return CUDNN_TENSOR_OP_MATH;
  }
  return CUDNN_FMA_MATH;
}

/// The first algorithm that takes the shape; `query(algorithm, &bytes)` asks for its workspace.
template <class Algorithm, class Query>
Algorithm first_supported(std::initializer_list<Algorithm> algorithms, const ConvolutionShape& shape,
                          const char* what, size_t& bytes, Query query) {
  for (const Algorithm algorithm : algorithms) {
    const cudnnStatus_t status = query(algorithm, &bytes);
    if (status == CUDNN_STATUS_SUCCESS) return algorithm;
    if (CUDNN_STATUS_CATEGORY(status) != CUDNN_STATUS_NOT_SUPPORTED) check(status, what);
  }
  fail(Exit::deck, "",
       std::string("cuDNN has no deterministic algorithm for ") + what + " of " + shape.text(),
       "change the layer or the precision, or use the cpu");
}

constexpr float one = 1, zero = 0;

}  // namespace

std::string ConvolutionShape::text() const {
  const auto pair = [this](const int64_t* values) {
    std::string all = std::to_string(values[0]);
    for (int axis = 1; axis < axes; ++axis) all += " x " + std::to_string(values[axis]);
    return all;
  };
  return "Conv " + std::to_string(filters) + " filters of " + pair(kernel) + " in " + std::to_string(groups) +
         " groups, strides " + pair(stride) + ", dilations " + pair(dilation) + ", pads " + pair(pad) +
         ", for " + std::to_string(samples) + " images of " + std::to_string(channels) + " channels, " +
         pair(input);
}

CudnnConvolution::CudnnConvolution(const Context& context, const ConvolutionShape& shape)
    : context_(context), shape_(shape) {
  const ConvolutionShape& s = shape_;
  const bool narrow = context.precision == ops::Precision::bf16 && !s.planes;
  const auto type = narrow ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  const auto format = s.planes ? CUDNN_TENSOR_NCHW : CUDNN_TENSOR_NHWC;
  const auto sizes = [&](int64_t first, int64_t second, const int64_t* rest) {
    std::array<int, 5> all{as_int(first), as_int(second)};
    for (int axis = 0; axis < s.axes; ++axis) all[static_cast<size_t>(axis) + 2] = as_int(rest[axis]);
    return all;
  };
  const auto image = [&](cudnnTensorDescriptor_t descriptor, int64_t channels, const int64_t* size) {
    check(cudnnSetTensorNdDescriptorEx(descriptor, format, type, s.axes + 2,
                                       sizes(s.samples, channels, size).data()),
          "cudnnSetTensorNdDescriptorEx");
  };
  image(x_.get(), s.channels, s.input);
  image(y_.get(), s.filters, s.output);
  check(cudnnSetFilterNdDescriptor(weights_.get(), type, format, s.axes + 2,
                                   sizes(s.filters, s.channels / s.groups, s.kernel).data()),
        "cudnnSetFilterNdDescriptor");
  const auto pads = sizes(0, 0, s.pad), strides = sizes(0, 0, s.stride), dilations = sizes(0, 0, s.dilation);
  check(cudnnSetConvolutionNdDescriptor(convolution_.get(), s.axes, pads.data() + 2, strides.data() + 2,
                                        dilations.data() + 2, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
        "cudnnSetConvolutionNdDescriptor");
  check(cudnnSetConvolutionGroupCount(convolution_.get(), as_int(s.groups)), "cudnnSetConvolutionGroupCount");
  const bool cast = s.planes && context.precision == ops::Precision::bf16;  // planes are never rounded
  check(cudnnSetConvolutionMathType(convolution_.get(), cast ? CUDNN_FMA_MATH : math_type(context.precision)),
        "cudnnSetConvolutionMathType");
  forward_ = first_supported(
      {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM}, shape_,
      "the output", forward_bytes_, [&](cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
        return cudnnGetConvolutionForwardWorkspaceSize(context_.dnn, x_.get(), weights_.get(),
                                                       convolution_.get(), y_.get(), algorithm, bytes);
      });
}

void CudnnConvolution::plan_backward(bool data) {
  size_t data_bytes = 0, filter_bytes = 0;
  if (data)
    data_ = first_supported({CUDNN_CONVOLUTION_BWD_DATA_ALGO_1}, shape_, "the input gradient", data_bytes,
                            [&](cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
                              return cudnnGetConvolutionBackwardDataWorkspaceSize(
                                  context_.dnn, weights_.get(), y_.get(), convolution_.get(), x_.get(),
                                  algorithm, bytes);
                            });
  filter_ = first_supported({CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1}, shape_, "the weight gradient",
                            filter_bytes, [&](cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* bytes) {
                              return cudnnGetConvolutionBackwardFilterWorkspaceSize(
                                  context_.dnn, x_.get(), y_.get(), convolution_.get(), weights_.get(),
                                  algorithm, bytes);
                            });
  backward_bytes_ = std::max(data_bytes, filter_bytes);
}

void CudnnConvolution::forward(const void* x, const void* weights, void* y, std::byte* workspace) const {
  check(cudnnConvolutionForward(context_.dnn, &one, x_.get(), x, weights_.get(), weights, convolution_.get(),
                                forward_, workspace, forward_bytes_, &zero, y_.get(), y),
        "cudnnConvolutionForward");
}

void CudnnConvolution::backward_data(const void* dy, const void* weights, void* dx,
                                     std::byte* workspace) const {
  check(cudnnConvolutionBackwardData(context_.dnn, &one, weights_.get(), weights, y_.get(), dy,
                                     convolution_.get(), data_, workspace, backward_bytes_, &zero, x_.get(),
                                     dx),
        "cudnnConvolutionBackwardData");
}

void CudnnConvolution::backward_weights(const void* x, const void* dy, void* dw, std::byte* workspace) const {
  check(cudnnConvolutionBackwardFilter(context_.dnn, &one, x_.get(), x, y_.get(), dy, convolution_.get(),
                                       filter_, workspace, backward_bytes_, &zero, weights_.get(), dw),
        "cudnnConvolutionBackwardFilter");
}

}  // namespace lepton::cuda
