//! Which EGL platforms open, with which driver, and which dma-bufs do they say that they take?

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::listed::Listed;
use crate::error::Result;
use crate::format::{Fourcc, Modifier};
use crate::gbm::Gbm;
use crate::gles::Gles;

/// A display of EGL with OpenGL ES, which can import dma-bufs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EglDisplay {
    /// `surfaceless`, or `gbm` with the device node.
    pub platform: String,
    /// `EGL_VENDOR`.
    pub vendor: String,
    /// `EGL_VERSION`.
    pub version: String,
    /// `GL_RENDERER`.
    pub renderer: String,
    /// `GL_VERSION`.
    pub gl_version: String,
    /// `EGL_EXTENSIONS` of the display.
    pub extensions: Vec<String>,
    /// The formats that can be imported, with their modifiers, or why they are not known.
    pub formats: Vec<Listed<EglFormat>>,
}

/// A format that can be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EglFormat {
    /// The format.
    pub fourcc: Fourcc,
    /// Its modifiers.
    pub modifiers: Vec<EglModifier>,
}

/// A modifier that a format can be imported with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EglModifier {
    /// The modifier.
    pub modifier: Modifier,
    /// Such images can be sampled as `GL_TEXTURE_EXTERNAL_OES` only.
    pub external_only: bool,
}

/// The surfaceless platform.
pub(super) fn surfaceless() -> Listed<EglDisplay> {
    display(SURFACELESS.to_owned(), Gles::open(None))
}

/// What the entry of the surfaceless platform is called.
pub(super) const SURFACELESS: &str = "surfaceless";

/// The GBM platform on the node `path`.
pub(super) fn on_gbm(path: &str) -> Listed<EglDisplay> {
    display(gbm_name(path), Gbm::open(Path::new(path)).and_then(|gbm| Gles::open_on(&gbm)))
}

/// What the entry of the GBM platform on the node `path` is called.
pub(super) fn gbm_name(path: &str) -> String {
    format!("gbm {path}")
}

fn display(platform: String, opened: Result<Gles>) -> Listed<EglDisplay> {
    let gles = match opened {
        Ok(gles) => gles,
        Err(why) => return Listed::unavailable(platform, why.to_string()),
    };
    let identity = gles.identity();
    let formats = match gles.formats() {
        Ok(formats) => formats.into_iter().map(|fourcc| format(&gles, fourcc)).collect(),
        Err(why) => vec![Listed::unavailable("formats", why.to_string())],
    };
    Listed::Present(EglDisplay {
        platform,
        vendor: identity.egl_vendor.clone(),
        version: identity.egl_version.clone(),
        renderer: identity.renderer.clone(),
        gl_version: identity.version.clone(),
        extensions: gles.egl_extensions().map(str::to_owned).collect(),
        formats,
    })
}

fn format(gles: &Gles, fourcc: Fourcc) -> Listed<EglFormat> {
    match gles.modifiers(fourcc) {
        Ok(listed) => {
            let modifiers =
                listed.iter().map(|one| EglModifier { modifier: one.modifier, external_only: one.external_only });
            Listed::Present(EglFormat { fourcc, modifiers: modifiers.collect() })
        }
        Err(why) => Listed::unavailable(fourcc.to_string(), why.to_string()),
    }
}
