//! Compiles `shaders/*.wgsl` to SPIR-V in `OUT_DIR`, and what OpenGL ES draws to GLSL as well, so that no compiled shader is
//! ever committed or stale.
//!
//! A shader that does not compile fails the build with naga's own message, file and line.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use naga::back::{glsl, spv};
use naga::front::wgsl;
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

/// Functions that other shaders use; WGSL has no include, so its text is put in front of each.
const COMMON: &str = "common.wgsl";

/// The shader that OpenGL ES draws with, too.
const FOR_GLES: &str = "pattern.wgsl";

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
        let (module, info) = parse(&common, &path)?;
        let bytes: Vec<u8> = spirv(&module, &info)?.into_iter().flat_map(u32::to_le_bytes).collect();
        let name = out.join(path.file_name().ok_or("a shader without a name")?);
        fs::write(name.with_extension("spv"), bytes)?;
        if path.ends_with(FOR_GLES) {
            fs::write(name.with_extension("vert"), gles(&module, &info, ShaderStage::Vertex, "cover")?)?;
            fs::write(name.with_extension("frag"), gles(&module, &info, ShaderStage::Fragment, "draw")?)?;
        }
    }
    Ok(())
}

/// The shader at `path`, validated.
fn parse(common: &str, path: &Path) -> Result<(Module, ModuleInfo), Box<dyn Error>> {
    // The shader comes first, so that line numbers in messages are those of its file.
    let source = format!("{}\n{common}", fs::read_to_string(path)?);
    let name = path.display().to_string();
    let module = wgsl::parse_str(&source).map_err(|error| error.emit_to_string_with_path(&source, &name))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::IMMEDIATES);
    let info = validator.validate(&module).map_err(|error| error.emit_to_string_with_path(&source, &name))?;
    Ok((module, info))
}

/// All entry points as one SPIR-V 1.3 module: the version that every Vulkan 1.3 device takes.
fn spirv(module: &Module, info: &ModuleInfo) -> Result<Vec<u32>, Box<dyn Error>> {
    let options = spv::Options {
        lang_version: (1, 3),
        // Clip space stays Vulkan's own (y down), as the shaders are written for it.
        flags: spv::WriterFlags::empty(),
        ..Default::default()
    };
    Ok(spv::write_vec(module, info, &options, None)?)
}

/// One entry point in GLSL for OpenGL ES 3.1. Immediates become uniforms, as `_immediates_binding_fs.size`.
fn gles(module: &Module, info: &ModuleInfo, stage: ShaderStage, entry: &str) -> Result<String, Box<dyn Error>> {
    let options = glsl::Options {
        version: glsl::Version::new_gles(310),
        // The first row in memory is the lowest one of a GL framebuffer: nothing must be turned over.
        writer_flags: glsl::WriterFlags::empty(),
        ..Default::default()
    };
    let pipeline = glsl::PipelineOptions { shader_stage: stage, entry_point: entry.to_owned(), multiview: None };
    let mut text = String::new();
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, BoundsCheckPolicies::default())?.write()?;
    Ok(text)
}
