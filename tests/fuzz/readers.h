// Everything that reads what others wrote, as functions of one string of bytes. libFuzzer drives
// them (libfuzzer/entry.cpp), and the tests read the kept inputs again (replay_test.cpp).
//
// An input is the file itself where its format lets mutations through. Where checksums or several
// files would stop them, it is the parts in plain text, and the reader packs them:
//
//   @@ NAME       a file, up to the next such line; in an archive stored, with "@@z" deflated
#pragma once

#include <string_view>

namespace edgecompress::fuzz {

/// Each throws what the code under test throws, or std::logic_error where what was read breaks a
/// promise of the reader.
void read_recipe(std::string_view input);
void read_csv(std::string_view input);          ///< the first line: options of the source, as JSON
void read_npy(std::string_view input);          ///< a .npy file
void read_npz(std::string_view input);          ///< parts of an archive, or an archive (PK)
void read_image(std::string_view input);        ///< checksums of PNG chunks are mended
void read_torch(std::string_view input);        ///< parts of what torch.save writes
void read_safetensors(std::string_view input);  ///< parts, config first, or a safetensors file
void read_torchscript(std::string_view input);  ///< parts of an archive, or an archive (PK)

}  // namespace edgecompress::fuzz
