//! Which DRM nodes can libgbm drive, and for which formats and uses does it say that it has buffers?
//!
//! GBM lists no formats, so it is asked for each that is known here. One small buffer is made, to see whether the node gives memory.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::listed::Listed;
use crate::format::{Fourcc, Modifier};
use crate::frame::px;
use crate::gbm::{Gbm, How, Usage};

/// A DRM node through libgbm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GbmNode {
    /// The device node.
    pub path: String,
    /// Name of the kernel driver.
    pub driver: String,
    /// What libgbm calls its own driver.
    pub backend: String,
    /// Where a buffer was made; or why it was refused.
    pub memory: Listed<Made>,
    /// The formats that it has for some use.
    pub formats: Vec<GbmFormat>,
}

/// A buffer that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What its dma-buf says of its exporter (`exp_name`).
    pub exporter: Option<String>,
}

/// A format, and what GBM says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GbmFormat {
    /// The format.
    pub fourcc: Fourcc,
    /// `GBM_BO_USE_*` in small letters without the prefix, each asked for alone.
    pub uses: Vec<String>,
    /// How many planes it has LINEAR, if it says so.
    pub planes: Option<u32>,
}

/// Everything about the node `path`.
pub(super) fn node(path: &str) -> Listed<GbmNode> {
    let gbm = match Gbm::open(Path::new(path)) {
        Ok(gbm) => gbm,
        Err(why) => return Listed::unavailable(path, why.to_string()),
    };
    Listed::Present(GbmNode {
        path: path.to_owned(),
        driver: gbm.driver().to_owned(),
        backend: gbm.backend().to_owned(),
        memory: memory(&gbm),
        formats: Fourcc::known().filter_map(|fourcc| format(&gbm, fourcc)).collect(),
    })
}

fn memory(gbm: &Gbm) -> Listed<Made> {
    let made = gbm.create(Fourcc::XR24, px(64, 64), &How::Plain(Usage::LINEAR)).and_then(|bo| bo.export());
    match made.and_then(|shared| shared.dmabuf.identity()) {
        Ok(identity) => Listed::Present(Made { exporter: identity.exporter }),
        Err(why) => Listed::unavailable("memory", why.to_string()),
    }
}

/// What GBM says of `fourcc`; `None` if it has no use for it.
fn format(gbm: &Gbm, fourcc: Fourcc) -> Option<GbmFormat> {
    let uses = Usage::EACH.iter().filter(|usage| gbm.supports(fourcc, **usage)).map(Usage::to_string);
    let uses: Vec<String> = uses.collect();
    // A count that no driver may answer is none that could be listed.
    let planes = gbm.planes(fourcc, Modifier::LINEAR).unwrap_or_default();
    (!uses.is_empty()).then_some(GbmFormat { fourcc, uses, planes })
}
