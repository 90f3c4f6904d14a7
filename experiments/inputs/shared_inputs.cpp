#include "experiments/inputs/shared_inputs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace longattn {
namespace {

constexpr Index kAlignment = 4096;  // each tensor begins on its own page

void write_all(int descriptor, const std::byte* data, Index count, Index offset) {
  while (count > 0) {
    const ssize_t written = pwrite(descriptor, data, static_cast<size_t>(count), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      throw IoError(fmt::format("shared memory for inputs: cannot write {} bytes: {}", count,
                                std::strerror(errno)));
    }
    data += written;
    count -= written;
    offset += written;
  }
}

}  // namespace

SharedInputs::SharedInputs(const InputTensors& tensors) {
  descriptor_ = memfd_create("longattn-inputs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor_ < 0) {
    throw IoError(fmt::format("shared memory for inputs: {}", std::strerror(errno)));
  }
  nlohmann::json layout = nlohmann::json::array();
  Index offset = 0;
  XXH64_hash_t hash = 0;
  const auto add = [&](std::string_view name, const Tensor& tensor) {
    layout.push_back({{"name", name},
                      {"offset", offset},
                      {"shape", tensor.shape()},
                      {"dtype", to_string(tensor.dtype())}});
    write_all(descriptor_, tensor.bytes_begin(), tensor.bytes(), offset);
    const std::string head = layout.back().dump();
    hash = XXH3_64bits_withSeed(head.data(), head.size(), hash);
    hash = XXH3_64bits_withSeed(tensor.bytes_begin(), static_cast<size_t>(tensor.bytes()), hash);
    offset = (offset + tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  };
  add("queries", tensors.queries);
  add("keys", tensors.keys);
  add("values", tensors.values);
  for (const OwnedTensor& extra : tensors.extra) add(extra.name, extra.tensor);
  if (ftruncate(descriptor_, std::max(offset, kAlignment)) != 0) {
    throw IoError(fmt::format("shared memory for inputs: {}", std::strerror(errno)));
  }
  fcntl(descriptor_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  layout_ = layout.dump();
  hash_ = fmt::format("{:016x}", hash);
}

SharedInputs::~SharedInputs() {
  if (descriptor_ >= 0) close(descriptor_);
}

SharedInputs::SharedInputs(SharedInputs&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      layout_(std::move(other.layout_)),
      hash_(std::move(other.hash_)) {}

MappedInputs::MappedInputs(int descriptor, const std::string& layout) {
  const off_t size = lseek(descriptor, 0, SEEK_END);
  if (size <= 0) throw DataError("worker inputs: not a file of shared memory");
  size_ = static_cast<size_t>(size);
  // Private, because kernels before 6.7 refuse shared mappings of a file sealed against writing;
  // the pages are the same ones.
  void* data = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (data == MAP_FAILED) throw DataError(fmt::format("worker inputs: {}", std::strerror(errno)));
  data_ = static_cast<std::byte*>(data);
  const nlohmann::json entries = nlohmann::json::parse(layout);
  for (const auto& entry : entries) {
    NamedTensor tensor;
    tensor.name = entry.at("name").get<std::string>();
    tensor.view.shape = entry.at("shape").get<std::array<Index, 4>>();
    tensor.view.strides = dense_strides(tensor.view.shape);
    const auto dtype = dtype_from_string(entry.at("dtype").get<std::string>());
    if (!dtype) throw DataError("worker inputs: unknown dtype");
    tensor.view.dtype = *dtype;
    tensor.view.data = data_ + entry.at("offset").get<Index>();
    tensors_.push_back(tensor);
  }
}

MappedInputs::~MappedInputs() { munmap(data_, size_); }

Inputs MappedInputs::inputs(const Variant& variant) {
  const auto find = [&](std::string_view name) -> const NamedTensor* {
    for (const NamedTensor& tensor : tensors_) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  };
  extra_.clear();
  for (const ExtraTensor& wanted : variant.extra) {
    if (const NamedTensor* tensor = find(wanted.name)) extra_.push_back(*tensor);
  }
  if (extra_.size() != variant.extra.size()) extra_.clear();
  return {find("queries")->view, find("keys")->view, find("values")->view, extra_};
}

void MappedInputs::touch() const {
  volatile std::byte sink{};
  for (size_t n = 0; n < size_; n += 4096) sink = data_[n];
  static_cast<void>(sink);
}

}  // namespace longattn
