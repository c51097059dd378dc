// SPDX-License-Identifier: Apache-2.0
// Loading the module. See the header. The handle stays open for the life of the process: ops of the module
// may outlive whoever asked for it.
#include "ops/cuda_module.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace lepton::ops {

namespace {

namespace fs = std::filesystem;

struct Loaded {
  const CudaModule* module = nullptr;
  std::string absence;
};

std::vector<fs::path> places() {
  if (const char* named = std::getenv("LEPTON_CUDA_MODULE")) return {named};
  std::error_code ignored;
  const fs::path here = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  const char* const name = "liblepton_cuda.so";
  return {here / name, here / ".." / "lib" / "lepton" / name};
}

Loaded load_from(const fs::path& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) return {nullptr, dlerror()};
  using Entry = const CudaModule* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, "lepton_cuda_module"));
  if (!entry) return {nullptr, path.string() + " is not a CUDA module of Lepton"};
  const CudaModule* module = entry();
  if (module->version != std::string(LEPTON_VERSION))
    return {nullptr, path.string() + " belongs to Lepton " + module->version};
  return {module, ""};
}

/// Without a driver nothing of the module's libraries, which are large, need be loaded to know the answer.
bool driver_present() {
  static void* const driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  return driver != nullptr;
}

Loaded load() {
  std::error_code ignored;
  for (const fs::path& path : places())
    if (fs::exists(path, ignored)) return load_from(path);
  return {nullptr, "there is no CUDA module (liblepton_cuda.so) beside this program"};
}

const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}

}  // namespace

const CudaModule* cuda_module() {
  return loaded().module;
}

std::vector<std::string> cuda_devices(std::string& absence) {
  if (!driver_present()) {
    absence = "there is no NVIDIA driver";
    return {};
  }
  if (loaded().module) return loaded().module->devices(absence);
  absence = loaded().absence;
  return {};
}

std::string cuda_version() {
  return loaded().module ? loaded().module->libraries() : "no CUDA: " + loaded().absence;
}

}  // namespace lepton::ops
