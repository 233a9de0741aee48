#![expect(unsafe_code, reason = "compiles shaders")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "what makes these calls sound is the same for all: a current context"
)]
//! The shaders of the harness for OpenGL ES: made at first use, kept as long as their device.

use std::cell::RefCell;
use std::collections::HashMap;

use glow::HasContext as _;

use super::{Gles, Inner, Through};
use crate::error::{Cause, Error, Result};

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Draws the stamped pattern.
    Pattern,
    /// Looks at every pixel of a texture.
    Sample(Through),
    /// Asks a texture for its size.
    Measure(Through),
}

/// The programs of a device.
#[derive(Default)]
pub(super) struct Programs(RefCell<HashMap<Work, glow::Program>>);

/// A triangle over everything, as `shaders/common.wgsl` has it.
const COVER: &str = include_str!(concat!(env!("OUT_DIR"), "/pattern.vert"));
const PATTERN: &str = include_str!(concat!(env!("OUT_DIR"), "/pattern.frag"));

/// Reads the pixel under each fragment the way a consumer does, through a sampler; WGSL has no name for external ones.
const SAMPLE: &str = "
precision highp float;
precision highp int;
uniform highp SAMPLER picture;
uniform vec2 size;
layout(location = 0) out vec4 seen;
void main() {
    seen = texture(picture, gl_FragCoord.xy / size);
}
";

/// Asks as shaders do: `textureSize`, which `GL_OES_EGL_image_external_essl3` has for external ones, too.
const MEASURE: &str = "
precision highp float;
precision highp int;
uniform highp SAMPLER picture;
layout(location = 0) out vec4 seen;
void main() {
    seen = vec4(vec2(textureSize(picture, 0)), 0.0, 1.0);
}
";

impl Work {
    fn fragment(self) -> String {
        let (source, through) = match self {
            Self::Pattern => return PATTERN.to_owned(),
            Self::Sample(through) => (SAMPLE, through),
            Self::Measure(through) => (MEASURE, through),
        };
        let (extension, sampler) = match through {
            Through::Texture2d => ("", "sampler2D"),
            Through::External => ("#extension GL_OES_EGL_image_external_essl3 : require", "samplerExternalOES"),
        };
        format!("#version 310 es\n{extension}\n{}", source.replace("SAMPLER", sampler))
    }
}

impl Gles {
    /// The program for `work`.
    ///
    /// # Errors
    /// The driver does not compile or link it.
    pub(super) fn program(&self, work: Work) -> Result<glow::Program> {
        if let Some(program) = self.programs().0.borrow().get(&work) {
            return Ok(*program);
        }
        let program = self.build(work)?;
        self.programs().0.borrow_mut().insert(work, program);
        Ok(program)
    }

    fn build(&self, work: Work) -> Result<glow::Program> {
        let object = || self.object(format!("{work:?}"));
        let gl = self.gl();
        let failed = |op: &'static str, why: String| Error::new(op, object(), Cause::Code(why));
        // SAFETY: the context is current, as `self.gl()` makes sure; here and below.
        let program = unsafe { gl.create_program() }.map_err(|why| failed("glCreateProgram", why))?;
        let mut shaders = Vec::new();
        let compile = |kind, source: &str| {
            // SAFETY: as above; `kind` is a kind of shader.
            unsafe {
                let shader = gl.create_shader(kind).map_err(|why| failed("glCreateShader", why))?;
                gl.shader_source(shader, source);
                gl.compile_shader(shader);
                if !gl.get_shader_compile_status(shader) {
                    let why = gl.get_shader_info_log(shader);
                    gl.delete_shader(shader);
                    return Err(failed("glCompileShader", why));
                }
                gl.attach_shader(program, shader);
                Ok(shader)
            }
        };
        let stages = [(glow::VERTEX_SHADER, COVER.to_owned()), (glow::FRAGMENT_SHADER, work.fragment())];
        let compiled = stages.iter().try_for_each(|(kind, source)| {
            shaders.push(compile(*kind, source)?);
            Ok(())
        });
        // SAFETY: as above; program and shaders are live, and deleted once.
        unsafe {
            if compiled.is_ok() {
                gl.link_program(program);
            }
            for shader in shaders {
                gl.detach_shader(program, shader);
                gl.delete_shader(shader);
            }
            let linked = compiled.is_ok() && gl.get_program_link_status(program);
            if !linked {
                let log = gl.get_program_info_log(program);
                gl.delete_program(program);
                compiled?;
                return Err(failed("glLinkProgram", log));
            }
        }
        Ok(program)
    }
}

impl Inner {
    /// Deletes every program, while the context is current.
    pub(super) fn delete_programs(&mut self) {
        for (_, program) in self.programs.0.get_mut().drain() {
            // SAFETY: the caller has made the context current; each program is live and deleted once.
            unsafe { self.gl.delete_program(program) };
        }
    }
}
