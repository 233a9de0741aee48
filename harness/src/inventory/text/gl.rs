//! How EGL displays and GBM nodes read.

use super::{BAD, LABEL, NAME, PLAIN, Page, grouped, joined, listing, modifier};
use crate::format::Fourcc;
use crate::inventory::Listed;
use crate::inventory::egl::{EglDisplay, EglFormat, EglModifier};
use crate::inventory::gbm::GbmNode;

/// Extensions that interop stands on; the text says of each whether the display has it.
const INTEROP: &[&str] = &[
    "EGL_EXT_image_dma_buf_import",
    "EGL_EXT_image_dma_buf_import_modifiers",
    "EGL_MESA_image_dma_buf_export",
    "EGL_KHR_fence_sync",
    "EGL_ANDROID_native_fence_sync",
    "EGL_KHR_no_config_context",
    "EGL_KHR_surfaceless_context",
];

/// Every display, those that differ in nothing but their platform together.
pub(super) fn egl_displays(page: &mut Page, displays: &[Listed<EglDisplay>]) {
    let unnamed = |display: &EglDisplay| EglDisplay { platform: String::new(), ..display.clone() };
    let present = displays.iter().filter_map(Listed::present);
    for (display, platforms) in grouped(present.map(|display| (unnamed(display), &display.platform))) {
        page.line(2, &joined(platforms, ", "), NAME);
        egl_display(page, &display);
    }
    for display in displays {
        page.listed(2, 16, display, |_, _| {});
    }
}

fn egl_display(page: &mut Page, display: &EglDisplay) {
    let EglDisplay { vendor, version, renderer, gl_version, .. } = display;
    page.row(4, "driver", LABEL, 12, &format!("{vendor} EGL {version}, {renderer}, {gl_version}"), PLAIN);
    let has = |name: &str| display.extensions.iter().any(|extension| extension == name);
    let (imports, exports) = (has("EGL_EXT_image_dma_buf_import"), has("EGL_MESA_image_dma_buf_export"));
    let ways = match (imports, exports) {
        (true, true) => "export+import",
        (true, false) => "import only",
        (false, true) => "export only",
        (false, false) => "no",
    };
    page.row(4, "dma-buf", LABEL, 12, ways, if imports && exports { PLAIN } else { BAD });
    page.row(4, "extensions", LABEL, 12, &listing(INTEROP.iter().filter(|name| has(name))), PLAIN);
    let lacks = joined(INTEROP.iter().filter(|name| !has(name)), " ");
    if !lacks.is_empty() {
        page.row(4, "without", LABEL, 12, &lacks, BAD);
    }
    formats(page, display.formats.iter().filter_map(Listed::present));
    for listed in &display.formats {
        page.listed(4, 12, listed, |_, _| {});
    }
}

/// Formats by modifier list.
fn formats<'a>(page: &mut Page, formats: impl Iterator<Item = &'a EglFormat>) {
    for (modifiers, fourccs) in grouped(formats.map(|format| (&format.modifiers, format.fourcc))) {
        let name = |one: &EglModifier| {
            let only = if one.external_only { "(external only)" } else { "" };
            format!("{}{only}", modifier::text(one.modifier))
        };
        let names =
            if modifiers.is_empty() { "no modifier".to_owned() } else { joined(modifiers.iter().map(name), " ") };
        page.titled(4, &names, 12, &codes(fourccs));
    }
}

/// Fourcc codes, of which some have blanks inside: no line is broken there.
fn codes(fourccs: Vec<Fourcc>) -> String {
    joined(fourccs.iter().map(|fourcc| fourcc.to_string().replace(' ', "\u{a0}")), " ")
}

/// Every node, those that differ in nothing but their name together.
pub(super) fn gbm_nodes(page: &mut Page, nodes: &[Listed<GbmNode>]) {
    let unnamed = |node: &GbmNode| GbmNode { path: String::new(), ..node.clone() };
    let present = nodes.iter().filter_map(Listed::present);
    for (node, paths) in grouped(present.map(|node| (unnamed(node), &node.path))) {
        page.line(2, &joined(paths, " "), NAME);
        gbm_node(page, &node);
    }
    for node in nodes {
        page.listed(2, 16, node, |_, _| {});
    }
}

fn gbm_node(page: &mut Page, node: &GbmNode) {
    page.row(4, "driver", LABEL, 12, &format!("{}, backend {}", node.driver, node.backend), PLAIN);
    page.listed(4, 12, &node.memory, |page, made| {
        let exporter = made.exporter.as_deref().unwrap_or("unknown to procfs");
        page.row(4, "memory", LABEL, 12, &format!("dma-bufs of {exporter}"), PLAIN);
    });
    if node.formats.is_empty() {
        page.row(4, "formats", LABEL, 12, "none", BAD);
    }
    for ((uses, planes), fourccs) in
        grouped(node.formats.iter().map(|format| ((&format.uses, format.planes), format.fourcc)))
    {
        page.row(4, "formats", LABEL, 12, &codes(fourccs), PLAIN);
        let planes = match planes {
            Some(1) => "1 plane LINEAR".to_owned(),
            Some(planes) => format!("{planes} planes LINEAR"),
            None => "not LINEAR".to_owned(),
        };
        page.row(4, "", PLAIN, 12, &format!("{planes}; for {}", joined(uses, ", ")), PLAIN);
    }
}
