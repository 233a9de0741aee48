//! How the inventory reads on a terminal: sections, names instead of numbers, equal things in one line, 120 columns.
//!
//! A view of the data; whatever is not in [`Inventory`] can't be here.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

use super::drm_nodes::{Cap, Connector, DrmNode, Modeset, Plane};
use super::listed::Listed;
use super::modifier;
use super::v4l2::{Queue, V4l2Node};
use super::vulkan::formats::{FormatSupport, HandleSupport, LayoutSupport};
use super::vulkan::{Vulkan, VulkanDevice};
use super::{Facility, Inventory};
use crate::kms::Offer;

mod gl;

const COLUMNS: usize = 120;
const TITLE: Style = Style::new().bold();
const NAME: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Cyan)));
const LABEL: Style = Style::new().dimmed();
const GOOD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const BAD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
const PLAIN: Style = Style::new();

/// The whole inventory as text with ANSI styles.
pub(super) fn page(inventory: &Inventory) -> String {
    let mut page = Page::default();
    let kernel = &inventory.kernel;
    page.section("Kernel");
    let uml = if kernel.uml { ", user-mode kernel" } else { "" };
    page.row(2, "Linux", PLAIN, 8, &format!("{} {}{uml}", kernel.release, kernel.machine), PLAIN);

    page.section("Libraries");
    for library in &inventory.libraries {
        page.listed(2, 16, library, |page, library| page.row(2, &library.name, PLAIN, 16, &library.path, PLAIN));
    }
    vulkan(&mut page, &inventory.vulkan);
    page.section("EGL");
    gl::egl_displays(&mut page, &inventory.egl);
    page.section("DRM nodes");
    for node in &inventory.drm {
        page.listed(2, 16, node, drm_node);
    }
    page.section("GBM");
    gl::gbm_nodes(&mut page, &inventory.gbm);
    page.section("Heaps");
    for heap in &inventory.dma_heaps {
        page.listed(2, 16, heap, |page, heap| page.row(2, "dma-heap", PLAIN, 16, &heap.name, PLAIN));
    }
    page.listed(2, 16, &inventory.udmabuf, |page, udmabuf| {
        let limit = |limit: Option<u64>| limit.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
        let (size, parts) = (limit(udmabuf.size_limit_mib), limit(udmabuf.list_limit));
        let text = format!("buffers of up to {size} MiB from up to {parts} parts");
        page.row(2, "udmabuf", PLAIN, 16, &text, PLAIN);
    });
    page.section("Video nodes");
    // Devices of one driver often differ in nothing but their nodes.
    let nodes = inventory.v4l2.iter().filter_map(Listed::present);
    let unnamed = |node: &V4l2Node| V4l2Node { path: String::new(), ..node.clone() };
    for (node, paths) in grouped(nodes.map(|node| (unnamed(node), &node.path))) {
        page.line(2, &joined(paths, " "), NAME);
        v4l2_node(&mut page, &node);
    }
    for node in &inventory.v4l2 {
        page.listed(2, 16, node, |_, _| {});
    }
    page.section("Observation");
    for facility in &inventory.observation {
        observation(&mut page, facility);
    }
    page.out
}

fn vulkan(page: &mut Page, vulkan: &Vulkan) {
    page.section("Vulkan");
    let loader = vulkan.loader_version.as_deref().unwrap_or("none");
    page.row(2, "loader", LABEL, 11, loader, PLAIN);
    page.row(2, "layers", LABEL, 11, &listing(&vulkan.layers), PLAIN);
    page.row(2, "manifests", LABEL, 11, &listing(&vulkan.manifests), PLAIN);
    for device in &vulkan.devices {
        page.listed(2, 16, device, vulkan_device);
    }
    for message in vulkan.messages.iter().take(MESSAGES_SHOWN) {
        page.row(2, "said", LABEL, 11, message, PLAIN);
    }
    let hidden = vulkan.messages.len().saturating_sub(MESSAGES_SHOWN);
    if hidden > 0 {
        page.row(2, "said", LABEL, 11, &format!("{hidden} more lines, see --json"), PLAIN);
    }
}

/// Lines of what loader and drivers said that are shown.
const MESSAGES_SHOWN: usize = 8;

/// Extensions that interop stands on; the text says of each whether the device has it.
const INTEROP_EXTENSIONS: &[&str] = &[
    "VK_KHR_external_memory_fd",
    "VK_EXT_external_memory_dma_buf",
    "VK_EXT_image_drm_format_modifier",
    "VK_EXT_queue_family_foreign",
    "VK_KHR_external_semaphore_fd",
    "VK_KHR_external_fence_fd",
    "VK_EXT_physical_device_drm",
    "VK_EXT_external_memory_host",
];

fn vulkan_device(page: &mut Page, device: &VulkanDevice) {
    page.line(2, &device.name, NAME);
    let mut field = |label: &str, text: &str| page.row(4, label, LABEL, 12, text, PLAIN);
    field("driver", &format!("{} {}, Vulkan {}", device.driver_name, device.driver_info, device.api_version));
    let nodes = listing(&device.drm_nodes);
    let ids = format!(
        "{}, vendor {:#06x}, device {:#06x}, driver version {:#x}, conformance {}, DRM nodes {nodes}",
        device.kind, device.vendor_id, device.device_id, device.driver_version, device.conformance
    );
    field("device", &ids);
    field("driverUUID", &device.driver_uuid.to_string());
    field("deviceUUID", &device.device_uuid.to_string());
    let has = |name: &&&str| device.extensions.iter().any(|extension| extension == **name);
    field("extensions", &listing(INTEROP_EXTENSIONS.iter().filter(has)));
    let lacks = joined(INTEROP_EXTENSIONS.iter().filter(|name| !has(name)), " ");
    if !lacks.is_empty() {
        page.row(4, "without", LABEL, 12, &lacks, BAD);
    }
    for (number, heap) in device.heaps.iter().enumerate() {
        let types = heap.types.iter().map(|(index, flags)| format!("type {index} {}", flags.replace(" | ", "|")));
        let text = format!("{} MiB {}: {}", heap.size >> 20, heap.flags.replace(" | ", "|"), joined(types, ", "));
        page.row(4, &format!("heap {number}"), LABEL, 12, &text, PLAIN);
    }
    page.row(4, "buffers", LABEL, 12, &handles(&device.buffers), PLAIN);
    page.row(4, "semaphores", LABEL, 12, &handles(&device.semaphores), PLAIN);
    page.row(4, "timelines", LABEL, 12, &handles(&device.timelines), PLAIN);
    page.row(4, "fences", LABEL, 12, &handles(&device.fences), PLAIN);
    image_formats(page, &device.formats);
}

/// Images: formats of which the same is to be said together.
fn image_formats(page: &mut Page, formats: &[FormatSupport]) {
    for (layouts, fourccs) in grouped(formats.iter().map(|format| (image_layouts(&format.layouts), format.fourcc))) {
        let fourccs = joined(fourccs, " ");
        if layouts.is_empty() {
            page.row(4, "no images", LABEL, 12, &fourccs, BAD);
            continue;
        }
        page.row(4, "images", LABEL, 12, &fourccs, PLAIN);
        for (support, names) in layouts {
            page.titled(6, &joined(names, " "), 18, &support);
        }
    }
}

/// What is to be said of a format's layouts, each with the names of those it holds for.
fn image_layouts(layouts: &[Listed<LayoutSupport>]) -> Vec<(String, Vec<String>)> {
    grouped(layouts.iter().map(|layout| match layout {
        Listed::Present(layout) => (support(layout), layout.modifier.map_or("OPTIMAL".to_owned(), modifier::text)),
        Listed::Unavailable(missing) => (format!("unavailable: {}", missing.why), missing.name.clone()),
    }))
}

/// What a layout offers, without its name.
fn support(layout: &LayoutSupport) -> String {
    let planes = if layout.planes == 1 { "1 plane".to_owned() } else { format!("{} planes", layout.planes) };
    let sizes = layout.handles.iter().filter_map(Listed::present).filter_map(|handle| handle.max_size);
    let sizes = grouped(sizes.map(|size| (format!(", up to {size}"), ())));
    let sizes = joined(sizes.into_iter().map(|(text, _)| text), "");
    format!("{planes}{sizes}, {}; {}", handles(&layout.handles), features(&layout.features))
}

/// The features that matter to somebody who shares an image.
fn features(all: &str) -> String {
    const SHOWN: &[(&str, &str)] = &[
        ("SAMPLED_IMAGE", "sampled"),
        ("STORAGE_IMAGE", "storage"),
        ("COLOR_ATTACHMENT", "colour attachment"),
        ("COLOR_ATTACHMENT_BLEND", "blend"),
        ("BLIT_SRC", "blit from"),
        ("BLIT_DST", "blit to"),
        ("TRANSFER_SRC", "copy from"),
        ("TRANSFER_DST", "copy to"),
        ("DISJOINT", "disjoint"),
    ];
    let shown = SHOWN.iter().filter(|(name, _)| all.split('|').any(|feature| feature == *name));
    joined(shown.map(|(_, text)| text), ", ")
}

/// `dma_buf export+import dedicated-only, opaque_fd no (VK_ERROR_FORMAT_NOT_SUPPORTED)`
fn handles(handles: &[Listed<HandleSupport>]) -> String {
    let text = |handle: &Listed<HandleSupport>| match handle {
        Listed::Present(handle) => {
            let ways = match (handle.exportable, handle.importable) {
                (true, true) => "export+import",
                (true, false) => "export only",
                (false, true) => "import only",
                (false, false) => "no",
            };
            let dedicated = if handle.dedicated_only { " dedicated-only" } else { "" };
            format!("{} {ways}{dedicated}", handle.name)
        }
        Listed::Unavailable(missing) => format!("{} no ({})", missing.name, missing.why),
    };
    joined(handles.iter().map(text), ", ")
}

fn drm_node(page: &mut Page, node: &DrmNode) {
    page.line(2, &node.path, NAME);
    let parent = node.parent.as_deref().unwrap_or("no parent device");
    let driver = format!("{} {} ({}), {parent}, device {}", node.driver, node.version, node.description, node.device);
    page.row(4, "driver", LABEL, 12, &driver, PLAIN);
    let value = |wanted: &str| {
        node.caps.iter().filter_map(Listed::present).find(|cap| cap.name == wanted).map_or(0, |cap| cap.value)
    };
    // DRM_PRIME_CAP_IMPORT is 1, DRM_PRIME_CAP_EXPORT is 2.
    let prime = ["no", "import only", "export only", "export+import"][(value("PRIME") & 3) as usize];
    page.row(4, "dma-buf", LABEL, 12, &format!("PRIME {prime}"), if value("PRIME") == 0 { BAD } else { PLAIN });
    let others = || node.caps.iter().filter(|cap| cap.present().is_none_or(|cap| cap.name != "PRIME"));
    let has = others().filter_map(Listed::present).filter(|cap| cap.value != 0);
    let has = has.map(|cap| if cap.value == 1 { cap.name.clone() } else { format!("{}={}", cap.name, cap.value) });
    page.row(4, "caps", LABEL, 12, &listing(has), PLAIN);
    without(page, others());
    page.row(4, "accounting", LABEL, 12, &listing(&node.accounting), PLAIN);
    match &node.modeset {
        Some(listed) => page.listed(4, 12, listed, modeset),
        None => page.row(4, "modeset", LABEL, 12, "none: a render node", PLAIN),
    }
}

/// The capabilities that a node lacks, or does not know and why.
fn without<'a>(page: &mut Page, caps: impl Iterator<Item = &'a Listed<Cap>>) {
    let mut lacks = Vec::new();
    let mut refused = Vec::new();
    for cap in caps {
        match cap {
            Listed::Present(cap) if cap.value == 0 => lacks.push(&cap.name),
            Listed::Present(_) => {}
            Listed::Unavailable(missing) => refused.push((&missing.why, &missing.name)),
        }
    }
    if !lacks.is_empty() {
        page.row(4, "without", LABEL, 12, &joined(lacks, " "), BAD);
    }
    for (why, names) in grouped(refused.into_iter()) {
        page.row(4, "without", LABEL, 12, &format!("{}: {why}", joined(names, " ")), BAD);
    }
}

fn modeset(page: &mut Page, modeset: &Modeset) {
    let granted = modeset.client_caps.iter().filter_map(Listed::present).map(|cap| &cap.name);
    page.row(4, "client caps", LABEL, 12, &listing(granted), PLAIN);
    without(page, modeset.client_caps.iter());
    page.row(4, "CRTCs", LABEL, 12, &modeset.crtcs.to_string(), PLAIN);
    if modeset.connectors.is_empty() {
        page.row(4, "connectors", LABEL, 12, "none", BAD);
    }
    for listed in &modeset.connectors {
        page.listed(4, 12, listed, connector);
    }
    if modeset.planes.is_empty() {
        page.row(4, "planes", LABEL, 12, "none: this card can show nothing", BAD);
    }
    let present = modeset.planes.iter().filter_map(Listed::present);
    let key =
        |plane: &Plane| (plane.kind.clone(), plane.crtcs.clone(), plane.formats.clone(), plane.no_modifiers.clone());
    for ((kind, crtcs, formats, no_modifiers), ids) in grouped(present.map(|plane| (key(plane), plane.id))) {
        let label = if ids.len() == 1 { "plane" } else { "planes" };
        let text = format!("{} {kind}, on CRTC {}", joined(&ids, " "), joined(&crtcs, " "));
        page.row(4, label, LABEL, 12, &text, PLAIN);
        offers(page, &formats);
        if let Some(why) = no_modifiers {
            page.row(6, "INVALID", PLAIN, 10, &why, BAD);
        }
    }
    for listed in &modeset.planes {
        page.listed(4, 12, listed, |_, _| {});
    }
}

/// Formats by modifier list.
fn offers(page: &mut Page, formats: &[Offer]) {
    for (modifiers, fourccs) in grouped(formats.iter().map(|offer| (&offer.modifiers, offer.fourcc))) {
        let modifiers = modifiers.iter().map(|&modifier| modifier::text(modifier));
        page.titled(6, &joined(modifiers, " "), 10, &joined(fourccs, " "));
    }
}

fn connector(page: &mut Page, connector: &Connector) {
    let mut text = format!("{} {}, {} modes", connector.name, connector.status, connector.modes);
    if let Some(first) = &connector.first_mode {
        text += &format!(", first {first}");
    }
    if let Some(largest) = connector.largest {
        text += &format!(", largest {largest}");
    }
    match &connector.writeback {
        Some(Listed::Present(writeback)) => text += &format!(", writes {}", joined(&writeback.formats, " ")),
        Some(Listed::Unavailable(missing)) => text += &format!(", {} unknown: {}", missing.name, missing.why),
        None => {}
    }
    page.row(4, "connector", LABEL, 12, &text, PLAIN);
}

fn v4l2_node(page: &mut Page, node: &V4l2Node) {
    page.row(4, "driver", LABEL, 12, &format!("{}, {}, {}", node.driver, node.card, node.bus), PLAIN);
    page.row(4, "caps", LABEL, 12, &listing(&node.caps), PLAIN);
    if node.queues.is_empty() {
        page.row(4, "queues", LABEL, 12, "none", PLAIN);
    }
    for listed in &node.queues {
        page.listed(4, 12, listed, queue);
    }
}

fn queue(page: &mut Page, queue: &Queue) {
    let buffers = match &queue.buffers {
        Listed::Present(buffers) => format!("buffers {}; {}", buffers.memory.join(" "), buffers.more.join(" ")),
        Listed::Unavailable(missing) => format!("buffers unknown: {}", missing.why),
    };
    page.row(4, "queue", LABEL, 12, &format!("{}, {buffers}", queue.name), PLAIN);
    page.row(6, "", PLAIN, 10, &listing(&queue.formats), PLAIN);
    if let Some(why) = &queue.formats_end {
        page.row(6, "", PLAIN, 10, why, BAD);
    }
}

fn observation(page: &mut Page, facility: &Facility) {
    match &facility.why_not {
        None => {
            let detail = facility.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            page.row(2, &format!("yes  {}", facility.name), GOOD, 29, &format!("{}{detail}", facility.path), PLAIN);
        }
        Some(why) => {
            // Most reasons name the file by themselves.
            let text = if why.contains(&facility.path) { why.clone() } else { format!("{}: {why}", facility.path) };
            page.row(2, &format!("no   {}", facility.name), BAD, 29, &text, PLAIN);
        }
    }
}

/// Values with equal keys together, in the order in which the keys first come.
fn grouped<K: PartialEq, V>(pairs: impl Iterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => groups.push((key, vec![value])),
        }
    }
    groups
}

fn joined(items: impl IntoIterator<Item = impl Display>, separator: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}

/// As [`joined`] with spaces; `none` if there is nothing to join.
fn listing(items: impl IntoIterator<Item = impl Display>) -> String {
    let text = joined(items, " ");
    if text.is_empty() { "none".into() } else { text }
}

/// Text in the making.
#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    fn section(&mut self, title: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.line(0, title, TITLE);
    }

    fn line(&mut self, indent: usize, text: &str, style: Style) {
        self.out += &format!("{:indent$}{style}{text}{style:#}\n", "");
    }

    /// A label in `width` columns, then `text`, broken at spaces and continued below its own beginning.
    fn row(&mut self, indent: usize, label: &str, label_style: Style, width: usize, text: &str, style: Style) {
        let start = indent + width;
        self.out += &format!("{:indent$}{label_style}{label}{label_style:#}", "");
        let mut column = indent + label.chars().count();
        if column < start {
            self.out += &" ".repeat(start - column);
            column = start;
        } else if !label.is_empty() {
            self.out += "\n";
            self.out += &" ".repeat(start);
            column = start;
        }
        self.out += &style.render().to_string();
        for (number, word) in text.split(' ').enumerate() {
            let length = word.chars().count();
            if number > 0 && column + 1 + length > COLUMNS {
                self.out.push('\n');
                self.out += &" ".repeat(start);
                column = start;
            } else if number > 0 {
                self.out.push(' ');
                column += 1;
            }
            self.out += word;
            column += length;
        }
        self.out += &format!("{style:#}\n");
    }

    /// As [`Self::row`], with a title that may be longer than a line.
    fn titled(&mut self, indent: usize, title: &str, width: usize, text: &str) {
        if title.chars().count() < width {
            return self.row(indent, title, PLAIN, width, text, PLAIN);
        }
        self.row(indent, "", PLAIN, 0, title, PLAIN);
        self.row(indent, "", PLAIN, width, text, PLAIN);
    }

    /// What is there by `show`, what is not by its name and why.
    fn listed<T>(&mut self, indent: usize, width: usize, listed: &Listed<T>, show: impl FnOnce(&mut Self, &T)) {
        match listed {
            Listed::Present(thing) => show(self, thing),
            Listed::Unavailable(missing) => {
                self.row(indent, &missing.name, BAD, width, &format!("unavailable: {}", missing.why), PLAIN);
            }
        }
    }
}

#[cfg(test)]
mod tests;
