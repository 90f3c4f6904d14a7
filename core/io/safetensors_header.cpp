#include "core/io/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/io/text.h"

namespace longattn {
namespace {

struct KnownType {
  std::string_view name;
  Index bits;
  std::optional<ElementType> type;
};
constexpr std::array<KnownType, 20> kTypes = {{
    {"F64", 64, ElementType::float64},
    {"F32", 32, ElementType::float32},
    {"F16", 16, ElementType::float16},
    {"BF16", 16, ElementType::bfloat16},
    {"I64", 64, ElementType::int64},
    {"I32", 32, ElementType::int32},
    {"U8", 8, ElementType::uint8},
    {"BOOL", 8, ElementType::boolean},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"U32", 32, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"I8", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
}};

const KnownType* find_type(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &KnownType::name);
  return found == kTypes.end() ? nullptr : &*found;
}

// Receives the events of nlohmann's parser, which does not recurse. The grammar has three levels
// only: the file's object, an entry (or the metadata), and a list inside an entry.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(SafetensorsHeader& header, std::string_view path) : header_(header), path_(path) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return unexpected(fmt::format("{}", value));
  }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool binary(binary_t&) override { return unexpected("binary"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool key(string_t& name) override;
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    refuse("header", "JSON", fmt::format("an error at byte {}", position + 7));
  }

 private:
  enum class Place { outside, file, metadata, entry, shape, offsets };

  [[noreturn]] void refuse(std::string_view what, std::string_view expected,
                           std::string_view found) const {
    throw DataError(fmt::format("{}: {}, expected {}, found {}", path_, what, expected, found));
  }
  bool unexpected(std::string_view found) const;
  // "tensor 'layers.0.keys' shape"
  std::string where() const;
  void finish_entry();

  SafetensorsHeader& header_;
  std::string_view path_;
  Place place_ = Place::outside;
  std::string name_, field_;  // of the entry (or metadata key), and the key inside the entry
  SafetensorsEntry entry_;
  std::vector<Index> offsets_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
};

std::string HeaderReader::where() const {
  const std::string shown = printable(std::string_view(name_).substr(0, 200));
  switch (place_) {
    case Place::outside:
      return "header";
    case Place::file:
      return fmt::format("tensor '{}'", shown);
    case Place::metadata:
      return fmt::format("__metadata__ '{}'", shown);
    default:
      return fmt::format("tensor '{}' {}", shown, field_);
  }
}

bool HeaderReader::unexpected(std::string_view found) const {
  std::string_view expected = "an object";
  if (place_ == Place::metadata) expected = "text";
  if (place_ == Place::shape || place_ == Place::offsets) {
    expected = "integers from 0 to 2^63 - 1";
  } else if (place_ == Place::entry) {
    expected = field_ == "dtype" ? "text" : "a list of integers";
  }
  refuse(where(), expected, printable(found.substr(0, 80)));
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  constexpr auto kMax = static_cast<number_unsigned_t>(std::numeric_limits<Index>::max());
  if ((place_ != Place::shape && place_ != Place::offsets) || value > kMax) {
    return unexpected(fmt::format("{}", value));
  }
  std::vector<Index>& list = place_ == Place::shape ? entry_.shape : offsets_;
  const size_t most = place_ == Place::shape ? kMaxSafetensorsAxes : 2;
  if (list.size() == most) {
    refuse(where(), fmt::format("at most {} numbers", most), "more");
  }
  list.push_back(static_cast<Index>(value));
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (place_ == Place::metadata) {
    header_.metadata[name_] = std::move(value);
    return true;
  }
  if (place_ != Place::entry || field_ != "dtype") {
    return unexpected(fmt::format("\"{}\"", printable(std::string_view(value).substr(0, 40))));
  }
  const KnownType* known = find_type(value);
  if (known == nullptr) {
    std::vector<std::string_view> names;
    for (const KnownType& type : kTypes) names.push_back(type.name);
    refuse(where(), fmt::format("one of {}", fmt::join(names, " ")),
           fmt::format("\"{}\"", printable(std::string_view(value).substr(0, 40))));
  }
  entry_.dtype = value;
  entry_.type = known->type;
  return true;
}

bool HeaderReader::start_object(std::size_t) {
  if (place_ == Place::outside) {
    place_ = Place::file;
  } else if (place_ == Place::file) {
    const bool is_metadata = name_ == "__metadata__";
    place_ = is_metadata ? Place::metadata : Place::entry;
    name_ = is_metadata ? "" : name_;
    field_.clear();
    entry_ = {};
    offsets_.clear();
    has_dtype_ = has_shape_ = has_offsets_ = false;
  } else {
    return unexpected("an object");
  }
  return true;
}

bool HeaderReader::end_object() {
  if (place_ == Place::entry) finish_entry();
  place_ = place_ == Place::file ? Place::outside : Place::file;
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (place_ != Place::entry || field_ == "dtype") return unexpected("a list");
  place_ = field_ == "shape" ? Place::shape : Place::offsets;
  return true;
}

bool HeaderReader::end_array() {
  if (place_ == Place::offsets && offsets_.size() != 2) {
    refuse(where(), "two numbers [begin, end]", fmt::format("{}", offsets_.size()));
  }
  place_ = Place::entry;
  return true;
}

bool HeaderReader::key(string_t& name) {
  if (place_ == Place::entry) {
    bool* const seen = name == "dtype"          ? &has_dtype_
                       : name == "shape"        ? &has_shape_
                       : name == "data_offsets" ? &has_offsets_
                                                : nullptr;
    field_.clear();
    if (seen == nullptr) {
      refuse(where() + "key", "dtype, shape or data_offsets",
             fmt::format("'{}'", printable(std::string_view(name).substr(0, 80))));
    }
    field_ = name;
    if (*seen) refuse(where(), "it once", "it twice");
    *seen = true;
    return true;
  }
  name_ = name;
  if (name.size() > kMaxSafetensorsName) {
    refuse("length of a name", fmt::format("at most {} bytes", kMaxSafetensorsName),
           fmt::format("{}", name.size()));
  }
  bool twice = false;
  if (place_ == Place::metadata) {
    twice = !header_.metadata.emplace(name, "").second;
  } else if (name == "__metadata__") {
    twice = std::exchange(has_metadata_, true);
  } else {
    twice = !header_.entries.emplace(name, SafetensorsEntry{}).second;
    if (header_.entries.size() > kMaxSafetensorsTensors) {
      refuse("number of tensors", fmt::format("at most {}", kMaxSafetensorsTensors), "more");
    }
  }
  if (twice) refuse(where(), "it once", "it twice");
  return true;
}

void HeaderReader::finish_entry() {
  for (const auto& [seen, field] : {std::pair(has_dtype_, "dtype"), std::pair(has_shape_, "shape"),
                                    std::pair(has_offsets_, "data_offsets")}) {
    field_ = field;
    if (!seen) refuse(where(), "a value", "none");
  }
  // Zeros count as one here: a product that overflows before it meets a zero is refused too.
  Index bits = find_type(entry_.dtype)->bits;
  bool has_zero = false;
  for (Index length : entry_.shape) {
    has_zero = has_zero || length == 0;
    if (__builtin_mul_overflow(bits, std::max<Index>(length, 1), &bits)) {
      field_ = "shape";
      refuse(where(), "fewer than 2^63 bits", fmt::format("[{}]", fmt::join(entry_.shape, ", ")));
    }
  }
  if (has_zero) bits = 0;
  if (bits % 8 != 0) {
    field_ = "shape";
    refuse(where(), "whole bytes", fmt::format("{} bits", bits));
  }
  field_ = "data_offsets";
  const Index begin = offsets_[0], end = offsets_[1];
  if (end < begin || end - begin != bits / 8) {
    refuse(where(),
           fmt::format("{} bytes ({} [{}])", bits / 8, entry_.dtype, fmt::join(entry_.shape, ", ")),
           fmt::format("[{}, {}]", begin, end));
  }
  entry_.begin = begin;
  entry_.end = end;
  header_.entries[name_] = std::move(entry_);
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, std::string_view path) {
  if (!json.starts_with('{')) {
    throw DataError(fmt::format("{}: header, expected '{{' as its first byte, found {}", path,
                                json.empty() ? "nothing" : "another"));
  }
  const Index invalid = find_invalid_utf8(json);
  if (invalid >= 0) {
    throw DataError(
        fmt::format("{}: header, expected UTF-8, found another byte at {}", path, invalid + 8));
  }
  // nlohmann's parser takes a NUL for the end of the input and ignores what follows.
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos) {
    throw DataError(
        fmt::format("{}: header, expected JSON, found an error at byte {}", path, nul + 8));
  }
  SafetensorsHeader header;
  HeaderReader reader(header, path);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  return header;
}

void check_safetensors_layout(const SafetensorsHeader& header, Index data_size,
                              std::string_view path) {
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> sorted;
  sorted.reserve(header.entries.size());
  for (const auto& item : header.entries) sorted.push_back(&item);
  std::ranges::stable_sort(sorted, [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  Index covered = 0;
  for (const auto* item : sorted) {
    const auto& [name, entry] = *item;
    if (entry.begin != covered) {
      throw DataError(fmt::format(
          "{}: tensor '{}' data_offsets, expected to begin at {} (no hole, no overlap), found {}",
          path, printable(std::string_view(name).substr(0, 200)), covered, entry.begin));
    }
    covered = entry.end;
  }
  if (covered != data_size) {
    throw DataError(
        fmt::format("{}: data, expected {} bytes (the end of the last tensor), found {}", path,
                    covered, data_size));
  }
}

std::string_view safetensors_dtype(ElementType type) {
  return std::ranges::find(kTypes, std::optional(type), &KnownType::type)->name;
}

}  // namespace longattn
