// SPDX-License-Identifier: Apache-2.0
// Files are looked at in pairs, each with its parity file: one heals the other.
#include "checkpoint/integrity.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/hash.h"
#include "checkpoint/envelope.h"
#include "storage/file.h"
#include "storage/parity.h"

namespace lepton::checkpoint {

namespace {

/// A file as it was written, and what was wrong with it and with its parity file.
struct Whole {
  std::string bytes;
  std::optional<Damage> damage, parity_damage;
};

std::string last_component(const std::string& path) {
  const size_t end = path.find_last_not_of('/');
  const size_t slash = path.find_last_of('/', end);
  return path.substr(slash + 1, end - slash);
}

Manifest decode_manifest(const std::string& checkpoint, const std::string& text) {
  const std::string path = checkpoint + "/" + manifest_name;
  Manifest manifest = Manifest::decode(text, path);
  const std::optional<int64_t> named = parse_step_name(last_component(checkpoint));
  REQUIRE(!named || *named == manifest.step, Exit::data, path,
          "belongs to step " + std::to_string(manifest.step) + ", not to the step of its directory",
          "Somebody has renamed or mixed checkpoints.");
  return manifest;
}

void require_listed(const std::string& path, const std::string& bytes, const Manifest::File& file) {
  const char* hint = "The file is damaged; use an older checkpoint.";
  REQUIRE(static_cast<int64_t>(bytes.size()) == file.bytes, Exit::data, path,
          "holds " + std::to_string(bytes.size()) + " bytes instead of " + std::to_string(file.bytes), hint);
  REQUIRE(hash64(bytes) == file.hash, Exit::data, path, "the bytes differ from those written (hash)", hint);
}

/// What is there, be it nothing or unreadable: no reason to give up where there is parity.
std::string read_remains(const std::string& path) {
  try {
    return storage::read_run_file(path);
  } catch (const Error&) {
    return "";
  }
}

/// Reads <checkpoint>/<name> and proves it by `require`, which throws; else restores and proves that. Throws
/// the first error where nothing helps.
Whole read_or_restore(const std::string& checkpoint, const std::string& name, bool has_parity,
                      const std::function<void(const std::string& bytes)>& require) {
  const std::string path = checkpoint + "/" + name;
  Whole whole;
  try {
    whole.bytes = storage::read_run_file(path);
    require(whole.bytes);
    return whole;
  } catch (const Error& error) {
    if (!has_parity) throw;
    const std::string remains = std::move(whole.bytes), parity = read_remains(parity_name(path));
    std::optional<storage::Restored> restored = storage::restore(remains, std::as_bytes(std::span(parity)));
    if (!restored) throw;
    try {
      require(restored->bytes);
    } catch (const Error&) {  // the parity of something else
      throw error;
    }
    const std::string blocks = std::to_string(restored->blocks);
    whole.damage = {name, error.problem() + "; " + blocks + " of its blocks come from its parity", true};
    whole.bytes = std::move(restored->bytes);
    return whole;
  }
}

Whole read_content(const std::string& checkpoint, const Manifest& manifest, const Manifest::File& file) {
  return read_or_restore(checkpoint, file.name, manifest.parity > 0, [&](const std::string& bytes) {
    require_listed(checkpoint + "/" + file.name, bytes, file);
  });
}

/// A manifest says itself whether it has parity, unless it cannot be read.
Whole read_manifest_file(const std::string& checkpoint, Manifest& manifest) {
  return read_or_restore(checkpoint, manifest_name, true,
                         [&](const std::string& text) { manifest = decode_manifest(checkpoint, text); });
}

/// Nothing where it is as `require` wants it.
std::optional<Damage> parity_damage(const std::string& checkpoint, const std::string& of,
                                    const std::function<void(const std::string& bytes)>& require) {
  const std::string name = parity_name(of);
  try {
    require(storage::read_run_file(checkpoint + "/" + name));
    return std::nullopt;
  } catch (const Error& error) {
    return Damage{name, error.problem() + "; it can be computed anew", true};
  }
}

std::string parity_text(const std::string& bytes, int parity) {
  const std::vector<std::byte> encoded = storage::encode_parity(std::as_bytes(std::span(bytes)), parity);
  return {reinterpret_cast<const char*>(encoded.data()), encoded.size()};
}

/// The manifest's own pair.
Whole look_at_manifest(const std::string& checkpoint, Manifest& manifest) {
  Whole whole = read_manifest_file(checkpoint, manifest);
  if (manifest.parity > 0)
    whole.parity_damage = parity_damage(checkpoint, manifest_name, [&](const std::string& bytes) {
      REQUIRE(bytes == parity_text(whole.bytes, manifest.parity), Exit::data,
              checkpoint + "/" + parity_name(manifest_name), "is not the parity of the manifest", "");
    });
  return whole;
}

/// The pair of a shard or of state.bin.
Whole look_at_content(const std::string& checkpoint, const Manifest& manifest, size_t i) {
  const Manifest::File& file = manifest.files[i];
  Whole whole = read_content(checkpoint, manifest, file);
  if (file.name == state_name) open_envelope(whole.bytes, checkpoint + "/" + file.name);
  if (manifest.parity > 0) {
    const Manifest::File& parity = manifest.files[manifest.content_files() + i];
    whole.parity_damage = parity_damage(checkpoint, file.name, [&](const std::string& bytes) {
      require_listed(checkpoint + "/" + parity.name, bytes, parity);
    });
  }
  return whole;
}

/// What `look` finds, or throws.
void add_damages(const std::string& file, const std::function<Whole()>& look, std::vector<Damage>& damages) {
  try {
    const Whole whole = look();
    for (const std::optional<Damage>& damage : {whole.damage, whole.parity_damage})
      if (damage) damages.push_back(*damage);
  } catch (const Error& error) {
    damages.push_back({file, error.problem()});
  }
}

void write_anew(const std::string& checkpoint, const Whole& whole, int parity, const std::string& name,
                std::vector<Damage>& healed) {
  if (whole.damage) {
    storage::replace_file(checkpoint + "/" + name, whole.bytes);
    healed.push_back(*whole.damage);
  }
  if (whole.parity_damage) {
    storage::replace_file(checkpoint + "/" + parity_name(name), parity_text(whole.bytes, parity));
    healed.push_back(*whole.parity_damage);
  }
}

}  // namespace

bool is_checkpoint(const std::string& path) {
  const std::vector<std::string> names = storage::list_directory(path);
  const auto has = [&](const std::string& name) { return std::ranges::find(names, name) != names.end(); };
  return has(manifest_name) || has(parity_name(manifest_name));
}

Manifest read_manifest(const std::string& checkpoint) {
  Manifest manifest;
  read_manifest_file(checkpoint, manifest);
  return manifest;
}

std::string read_proven(const std::string& checkpoint, const Manifest& manifest, const Manifest::File& file) {
  return read_content(checkpoint, manifest, file).bytes;
}

std::vector<Damage> verify_manifest(const std::string& checkpoint, Manifest& manifest) {
  std::vector<Damage> damages;
  add_damages(
      manifest_name, [&] { return look_at_manifest(checkpoint, manifest); }, damages);
  return damages;
}

std::vector<Damage> verify_files(const std::string& checkpoint, const Manifest& manifest, size_t first,
                                 size_t stride) {
  std::vector<Damage> damages;
  for (size_t i = first; i < manifest.content_files(); i += stride)
    add_damages(
        manifest.files[i].name, [&] { return look_at_content(checkpoint, manifest, i); }, damages);
  return damages;
}

std::vector<Damage> verify(const std::string& checkpoint) {
  Manifest manifest;
  std::vector<Damage> damages = verify_manifest(checkpoint, manifest);
  if (!readable(damages)) return damages;
  std::ranges::copy(verify_files(checkpoint, manifest, 0, 1), std::back_inserter(damages));
  return damages;
}

bool readable(std::span<const Damage> damages) {
  return std::all_of(damages.begin(), damages.end(), [](const Damage& damage) { return damage.heals; });
}

std::vector<Damage> heal(const std::string& checkpoint) {
  std::vector<Damage> healed;
  Manifest manifest;
  const Whole text = look_at_manifest(checkpoint, manifest);
  write_anew(checkpoint, text, manifest.parity, manifest_name, healed);
  for (size_t i = 0; i < manifest.content_files(); ++i)
    write_anew(checkpoint, look_at_content(checkpoint, manifest, i), manifest.parity, manifest.files[i].name,
               healed);
  return healed;
}

}  // namespace lepton::checkpoint
