// SPDX-License-Identifier: Apache-2.0
// See backend.h. Streams do not synchronise with the default stream; events carry no times; graphs are
// instantiated once per recording.
#include "kernels/backend.h"

#include <string>

namespace lepton::cuda {

namespace {

class CudaEvent : public Event {
 public:
  CudaEvent() { check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate"); }
  ~CudaEvent() override { cudaEventDestroy(event); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  bool done() override {
    const cudaError_t status = cudaEventQuery(event);
    if (status == cudaErrorNotReady) return false;
    check(status, "cudaEventQuery");
    return true;
  }

  cudaEvent_t event = nullptr;
};

class CudaQueue : public Queue {
 public:
  CudaQueue() { check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate"); }
  ~CudaQueue() override { cudaStreamDestroy(stream); }
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  void copy(void* to, const void* from, size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
  }
  void clear(void* to, size_t bytes) override {
    check(cudaMemsetAsync(to, 0, bytes, stream), "cudaMemsetAsync");
  }
  void record(Event& event) override {
    check(cudaEventRecord(dynamic_cast<CudaEvent&>(event).event, stream), "cudaEventRecord");
  }
  void wait(Event& event) override {
    check(cudaStreamWaitEvent(stream, dynamic_cast<CudaEvent&>(event).event, 0), "cudaStreamWaitEvent");
  }
  void synchronize() override { check(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }

  cudaStream_t stream = nullptr;
};

class CudaRecording : public Recording {
 public:
  explicit CudaRecording(cudaGraph_t graph) {
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }
  ~CudaRecording() override { cudaGraphExecDestroy(executable_); }
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;
  void launch(Queue& queue) override {
    check(cudaGraphLaunch(executable_, stream_of(queue)), "cudaGraphLaunch");
  }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(int index) : index_(index) { check(cudaSetDevice(index), "cudaSetDevice"); }

  std::byte* allocate(size_t bytes, MemoryKind kind) override {
    void* memory = nullptr;
    const cudaError_t status =
        kind == MemoryKind::device ? cudaMalloc(&memory, bytes) : cudaMallocHost(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it is not to be found by the next launch
      return nullptr;
    }
    check(status, "cudaMalloc");
    return static_cast<std::byte*>(memory);
  }
  void release(std::byte* memory, MemoryKind kind) noexcept override {
    kind == MemoryKind::device ? cudaFree(memory) : cudaFreeHost(memory);
  }
  std::unique_ptr<Queue> make_queue() override { return std::make_unique<CudaQueue>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CudaEvent>(); }

  std::unique_ptr<Recording> record(Queue& queue, const std::function<void()>& work) override {
    const cudaStream_t stream = stream_of(queue);
    // Thread-local: what other threads of this process do with CUDA is no matter of this recording.
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    return std::make_unique<CudaRecording>(graph);
  }

  void with_memory(Queue& queue, const std::function<void()>& work) override {
    queue.synchronize();
    work();
  }

  DeviceProperties properties() override {
    cudaDeviceProp found{};
    check(cudaGetDeviceProperties(&found, index_), "cudaGetDeviceProperties");
    DeviceProperties properties;
    properties.name = std::string(found.name) + " (compute capability " + std::to_string(found.major) + "." +
                      std::to_string(found.minor) + ")";
    check(cudaMemGetInfo(&properties.bytes_free, &properties.bytes_total), "cudaMemGetInfo");
    return properties;
  }

 private:
  int index_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(int index) {
  return std::make_unique<CudaBackend>(index);
}

cudaStream_t stream_of(Queue& queue) {
  return dynamic_cast<CudaQueue&>(queue).stream;
}

}  // namespace lepton::cuda
