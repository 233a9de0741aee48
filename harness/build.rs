//! Compiles `shaders/*.wgsl` to SPIR-V in `OUT_DIR`, so that no compiled shader is ever committed or stale.
//!
//! A shader that does not compile fails the build with naga's own message, file and line.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Functions that other shaders use; WGSL has no include, so its text is put in front of each.
const COMMON: &str = "common.wgsl";

fn main() -> Result<(), Box<dyn Error>> {
    let shaders = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../shaders");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed={}", shaders.display());
    let common = fs::read_to_string(shaders.join(COMMON))?;
    for entry in fs::read_dir(&shaders)? {
        let path = entry?.path();
        let is_shader = path.extension().is_some_and(|extension| extension == "wgsl");
        if !is_shader || path.ends_with(COMMON) {
            continue;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        let words = compile(&common, &path)?;
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let name = path.with_extension("spv");
        fs::write(out.join(name.file_name().ok_or("a shader without a name")?), bytes)?;
    }
    Ok(())
}

/// All entry points of the shader at `path`, as one SPIR-V 1.3 module: the version that every Vulkan 1.3 device takes.
fn compile(common: &str, path: &Path) -> Result<Vec<u32>, Box<dyn Error>> {
    // The shader comes first, so that line numbers in messages are those of its file.
    let source = format!("{}\n{common}", fs::read_to_string(path)?);
    let name = path.display().to_string();
    let module = wgsl::parse_str(&source).map_err(|error| error.emit_to_string_with_path(&source, &name))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::IMMEDIATES);
    let info = validator.validate(&module).map_err(|error| error.emit_to_string_with_path(&source, &name))?;
    let options = spv::Options {
        lang_version: (1, 3),
        // Clip space stays Vulkan's own (y down), as the shaders are written for it.
        flags: spv::WriterFlags::empty(),
        ..Default::default()
    };
    Ok(spv::write_vec(&module, &info, &options, None)?)
}
