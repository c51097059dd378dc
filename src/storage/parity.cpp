// SPDX-License-Identifier: Apache-2.0
// A parity file: head, table of CRCs, parity blocks, table, head: a damaged beginning or end leaves one of
// both. Block b belongs to stripe b mod stripes, among the file's blocks and among the parity's; what is
// missing behind the end of the file, and in stripes that are short of a block, counts as zeros.
#include "storage/parity.h"

#include <isa-l/crc.h>
#include <isa-l/erasure_code.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"
#include "storage/erasure.h"

namespace lepton::storage {

namespace {

static_assert(std::endian::native == std::endian::little, "heads and tables are written as they lie");

constexpr char parity_magic[] = "LEPPAR01";

struct ParityHead {
  char magic[8] = {};
  uint64_t parity_blocks = 0;  // of a stripe
  uint64_t file_bytes = 0, file_hash = 0;
  uint64_t hash = 0;  // of the fields above and of the table
};

using Table = std::vector<uint32_t>;  // the CRCs of the file's blocks, then of the parity blocks

/// How a file of so many bytes is cut, and what its parity file looks like.
struct Cut {
  Cut(uint64_t bytes, uint64_t parity_of_stripe)
      : file_bytes(bytes),
        block_bytes(parity_block_bytes(bytes)),
        blocks((bytes + block_bytes - 1) / block_bytes),
        stripes((blocks + parity_stripe - 1) / parity_stripe),
        data(static_cast<int>(std::min<uint64_t>(blocks, parity_stripe))),
        parity(static_cast<int>(parity_of_stripe)) {}

  size_t table_entries() const { return blocks + stripes * static_cast<uint64_t>(parity); }
  size_t table_bytes() const { return table_entries() * sizeof(uint32_t); }
  size_t front_bytes() const { return sizeof(ParityHead) + table_bytes(); }
  size_t parity_bytes() const { return stripes * static_cast<uint64_t>(parity) * block_bytes; }
  size_t all_bytes() const { return 2 * front_bytes() + parity_bytes(); }

  /// The i-th block of a stripe: first those of the file, where it stands in the table.
  uint64_t entry(uint64_t stripe, int i) const {
    return (i < data ? 0 : blocks) + stripe + static_cast<uint64_t>(i < data ? i : i - data) * stripes;
  }
  /// False behind the end of the file, where a stripe is short of a block.
  bool exists(uint64_t stripe, int i) const { return i >= data || entry(stripe, i) < blocks; }
  size_t bytes_of(uint64_t block) const {
    return static_cast<size_t>(std::min<uint64_t>(block_bytes, file_bytes - block * block_bytes));
  }

  uint64_t file_bytes;
  size_t block_bytes;
  uint64_t blocks, stripes;
  int data, parity;  // blocks of a stripe
};

/// The blocks of one stripe, one behind the other.
class Stripe {
 public:
  explicit Stripe(const Cut& cut)
      : block_bytes_(cut.block_bytes), bytes_(block_bytes_ * static_cast<size_t>(cut.data + cut.parity)) {}
  std::span<std::byte> block(int i) {
    return std::span(bytes_).subspan(block_bytes_ * static_cast<size_t>(i), block_bytes_);
  }
  unsigned char* raw(int i) { return reinterpret_cast<unsigned char*>(block(i).data()); }
  /// Its first bytes, or as many of them as there are; zeros behind.
  void load(int i, std::span<const std::byte> source) {
    const std::span<std::byte> to = block(i);
    const size_t count = std::min(source.size(), to.size());
    std::copy_n(source.begin(), count, to.begin());
    std::fill(to.begin() + static_cast<std::ptrdiff_t>(count), to.end(), std::byte{0});
  }

 private:
  size_t block_bytes_;
  std::vector<std::byte> bytes_;
};

/// At most `size` bytes from `at` on, or as many as there are.
std::span<const std::byte> part_of(std::span<const std::byte> bytes, uint64_t at, size_t size) {
  if (at >= bytes.size()) return {};
  return bytes.subspan(at, std::min<size_t>(size, bytes.size() - at));
}

/// (ISA-L's interface forgets that it only reads.)
unsigned char* raw_of(std::span<const std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
}

uint32_t crc_of(std::span<const std::byte> block) {
  return crc32_iscsi(raw_of(block), static_cast<int>(block.size()), ~0u) ^ ~0u;
}

/// A file that lies in pieces in memory.
class PiecewiseFile {
 public:
  explicit PiecewiseFile(std::span<const std::span<const std::byte>> pieces) : pieces_(pieces) {
    for (const auto& piece : pieces) {
      begins_.push_back(size_);
      size_ += piece.size();
    }
  }
  uint64_t size() const { return size_; }
  /// The bytes from `at` on, as many as `room` holds: where they lie, if that is in one piece, else gathered
  /// in `room`, with zeros behind the end.
  std::span<const std::byte> block(uint64_t at, std::span<std::byte> room) const {
    size_t filled = 0;
    if (at < size_) {
      auto i =
          static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), at) - begins_.begin()) - 1;
      const std::span<const std::byte> there = pieces_[i].subspan(at - begins_[i]);
      if (there.size() >= room.size()) return there.first(room.size());
      for (uint64_t from = at; filled < room.size() && i < pieces_.size();
           from = begins_[i] + pieces_[i].size(), ++i) {
        const std::span<const std::byte> part = part_of(pieces_[i], from - begins_[i], room.size() - filled);
        std::ranges::copy(part, room.begin() + static_cast<std::ptrdiff_t>(filled));
        filled += part.size();
      }
    }
    std::fill(room.begin() + static_cast<std::ptrdiff_t>(filled), room.end(), std::byte{0});
    return room;
  }

 private:
  std::span<const std::span<const std::byte>> pieces_;
  std::vector<uint64_t> begins_;
  uint64_t size_ = 0;
};

uint64_t hash_of(const ParityHead& head, const Table& table) {
  ParityHead without = head;
  without.hash = 0;
  return hash64_of<uint32_t>(table, hash64_of(std::span<const ParityHead>(&without, 1)));
}

constexpr int stripe_max = parity_stripe + parity_blocks_max;

/// results[r] = the sum of rows[r][i] * sources[i].
void combine(const Cut& cut, std::vector<uint8_t>& rows, std::span<unsigned char*> sources,
             std::span<unsigned char*> results) {
  std::array<unsigned char, 32 * parity_stripe * parity_blocks_max> tables;
  const auto count = static_cast<int>(results.size());
  ec_init_tables(cut.data, count, rows.data(), tables.data());
  ec_encode_data(static_cast<int>(cut.block_bytes), cut.data, count, tables.data(), sources.data(),
                 results.data());
}

/// The file's lost blocks of a stripe from what is left of it; false where that is too little.
bool restore_stripe(const Cut& cut, Stripe& stripe, std::span<const bool> lost) {
  std::vector<int> left;
  std::vector<unsigned char*> sources, results;
  for (int i = 0; i < cut.data + cut.parity && std::ssize(left) < cut.data; ++i) {
    if (lost[static_cast<size_t>(i)]) continue;
    left.push_back(i);
    sources.push_back(stripe.raw(i));
  }
  if (std::ssize(left) < cut.data) return false;
  const Erasure code(cut.data, cut.parity);
  std::vector<uint8_t> rows;
  for (int i = 0; i < cut.data; ++i) {
    if (!lost[static_cast<size_t>(i)]) continue;
    const std::vector<uint8_t> row = code.restoring(i, left);
    rows.insert(rows.end(), row.begin(), row.end());
    results.push_back(stripe.raw(i));
  }
  combine(cut, rows, sources, results);
  return true;
}

struct ParityFile {
  ParityHead head;
  Table table;
  std::span<const std::byte> blocks;  // fewer bytes than there should be, where its end is missing
};

/// By its first or by its last head; nothing where that is damaged.
std::optional<ParityFile> parse_parity(std::span<const std::byte> bytes, bool by_last) {
  if (bytes.size() < 2 * sizeof(ParityHead)) return std::nullopt;
  ParityFile file;
  std::memcpy(&file.head, bytes.data() + (by_last ? bytes.size() - sizeof file.head : 0), sizeof file.head);
  const ParityHead& head = file.head;
  if (std::memcmp(head.magic, parity_magic, sizeof head.magic) != 0) return std::nullopt;
  if (head.parity_blocks < 1 || head.parity_blocks > parity_blocks_max) return std::nullopt;
  // Its table alone would be larger than all that is here; and no sum below overflows.
  if (head.file_bytes == 0 || head.file_bytes / parity_block_bytes_max > bytes.size()) return std::nullopt;
  const Cut cut(head.file_bytes, head.parity_blocks);
  if (bytes.size() < cut.front_bytes() || (by_last && bytes.size() != cut.all_bytes())) return std::nullopt;
  const size_t table_at = by_last ? bytes.size() - cut.front_bytes() : sizeof head;
  file.table.resize(cut.table_entries());
  std::memcpy(file.table.data(), bytes.data() + table_at, cut.table_bytes());
  if (hash_of(head, file.table) != head.hash) return std::nullopt;
  file.blocks = part_of(bytes, cut.front_bytes(), cut.parity_bytes());
  return file;
}

/// Loads a stripe; returns which of its blocks are lost.
std::array<bool, stripe_max> load_stripe(const Cut& cut, const ParityFile& parity,
                                         std::span<const std::byte> file, uint64_t s, Stripe& stripe) {
  std::array<bool, stripe_max> lost{};
  for (int i = 0; i < cut.data + cut.parity; ++i) {
    const uint64_t entry = cut.entry(s, i);
    if (!cut.exists(s, i)) {
      stripe.load(i, {});
      continue;
    }
    const bool of_file = i < cut.data;
    const size_t bytes = of_file ? cut.bytes_of(entry) : cut.block_bytes;
    stripe.load(i, of_file ? part_of(file, entry * cut.block_bytes, bytes)
                           : part_of(parity.blocks, (entry - cut.blocks) * cut.block_bytes, bytes));
    lost[static_cast<size_t>(i)] = crc_of(stripe.block(i).first(bytes)) != parity.table[entry];
  }
  return lost;
}

std::optional<Restored> restore_by(const ParityFile& parity, std::span<const std::byte> file) {
  const Cut cut(parity.head.file_bytes, parity.head.parity_blocks);
  // Of the rest no block can be left, and no parity for it.
  if (cut.file_bytes > file.size() + parity.blocks.size()) return std::nullopt;
  Restored restored{std::string(cut.file_bytes, '\0')};
  const auto out = std::as_writable_bytes(std::span(restored.bytes));
  Stripe stripe(cut);
  for (uint64_t s = 0; s < cut.stripes; ++s) {
    const auto lost = load_stripe(cut, parity, file, s, stripe);
    const auto count = std::count(lost.begin(), lost.begin() + cut.data, true);
    if (count > 0 && !restore_stripe(cut, stripe, lost)) return std::nullopt;
    restored.blocks += count;
    for (int i = 0; i < cut.data; ++i) {
      if (!cut.exists(s, i)) continue;
      const uint64_t block = cut.entry(s, i);
      std::ranges::copy(stripe.block(i).first(cut.bytes_of(block)),
                        out.begin() + static_cast<std::ptrdiff_t>(block * cut.block_bytes));
    }
  }
  if (hash64(restored.bytes) != parity.head.file_hash) return std::nullopt;
  return restored;
}

}  // namespace

size_t parity_block_bytes(uint64_t file_bytes) {
  if (file_bytes <= parity_copied_bytes) return static_cast<size_t>(file_bytes);
  constexpr uint64_t grain = 512;  // of disks
  const uint64_t of_stripes = parity_stripe * parity_block_bytes_max;
  const uint64_t blocks = parity_stripe * ((file_bytes - 1) / of_stripes + 1);
  return static_cast<size_t>(((file_bytes - 1) / blocks / grain + 1) * grain);
}

std::vector<std::byte> encode_parity(std::span<const std::byte> file, int parity_blocks) {
  return encode_parity(std::span(&file, 1), hash64(file), parity_blocks);
}

std::vector<std::byte> encode_parity(std::span<const std::span<const std::byte>> pieces, uint64_t hash,
                                     int parity_blocks) {
  const PiecewiseFile file(pieces);
  CHECK(file.size() > 0 && parity_blocks >= 1 && parity_blocks <= parity_blocks_max, "parity of something");
  const Cut cut(file.size(), static_cast<uint64_t>(parity_blocks));
  std::vector<std::byte> bytes(cut.all_bytes());
  Table table(cut.table_entries());
  std::vector<uint8_t> rows = Erasure(cut.data, cut.parity).parity_rows();
  Stripe stripe(cut);
  std::vector<unsigned char*> sources(static_cast<size_t>(cut.data)), results;
  for (int i = cut.data; i < cut.data + cut.parity; ++i) results.push_back(stripe.raw(i));
  for (uint64_t s = 0; s < cut.stripes; ++s) {
    for (int i = 0; i < cut.data; ++i) {
      const uint64_t block = cut.entry(s, i);
      const std::span<const std::byte> content = file.block(block * cut.block_bytes, stripe.block(i));
      if (cut.exists(s, i)) table[block] = crc_of(content.first(cut.bytes_of(block)));
      sources[static_cast<size_t>(i)] = raw_of(content);
    }
    combine(cut, rows, sources, results);
    for (int i = cut.data; i < cut.data + cut.parity; ++i) {
      const uint64_t entry = cut.entry(s, i);
      table[entry] = crc_of(stripe.block(i));
      std::ranges::copy(stripe.block(i), &bytes[cut.front_bytes() + (entry - cut.blocks) * cut.block_bytes]);
    }
  }
  ParityHead head;
  std::memcpy(head.magic, parity_magic, sizeof head.magic);
  head.parity_blocks = static_cast<uint64_t>(parity_blocks);
  head.file_bytes = file.size();
  head.file_hash = hash;
  head.hash = hash_of(head, table);
  std::byte* last = bytes.data() + bytes.size() - sizeof head;
  for (std::byte* place : {bytes.data(), last}) std::memcpy(place, &head, sizeof head);
  for (std::byte* place : {bytes.data() + sizeof head, last - cut.table_bytes()})
    std::memcpy(place, table.data(), cut.table_bytes());
  return bytes;
}

std::optional<Restored> restore(std::string_view file, std::span<const std::byte> parity) {
  for (const bool by_last : {false, true})
    if (const std::optional<ParityFile> parsed = parse_parity(parity, by_last))
      return restore_by(*parsed, std::as_bytes(std::span(file)));
  return std::nullopt;
}

}  // namespace lepton::storage
