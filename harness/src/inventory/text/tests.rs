//! The text of a machine that has some things and lacks others.

use super::*;
use crate::format::{Fourcc, Modifier};
use crate::frame::px;
use crate::inventory::drm_nodes::WritebackFormats;
use crate::inventory::egl::{EglDisplay, EglFormat, EglModifier};
use crate::inventory::gbm::{GbmFormat, GbmNode};
use crate::inventory::v4l2::BufferCaps;
use crate::inventory::vulkan::MemoryHeap;
use crate::inventory::{DmaHeap, Kernel, LibraryFile, Udmabuf};
use crate::vk::Uuid;

const OTHER: Modifier = Modifier(0x0100_0000_0000_0001);
const TILED: Modifier = Modifier(0x0200_0000_1866_bf04);

fn handle(name: &str, dedicated_only: bool) -> Listed<HandleSupport> {
    Listed::Present(HandleSupport {
        name: name.into(),
        exportable: true,
        importable: name != "opaque_fd",
        dedicated_only,
        compatible: vec![name.into()],
        export_from_imported: Vec::new(),
        max_size: Some(px(16384, 16384)),
    })
}

fn layout(modifier: Option<Modifier>, planes: u32) -> Listed<LayoutSupport> {
    let handles = match modifier {
        Some(_) => vec![handle("dma_buf", true), Listed::unavailable("opaque_fd", "VK_ERROR_FORMAT_NOT_SUPPORTED")],
        None => vec![handle("opaque_fd", false)],
    };
    let features = "SAMPLED_IMAGE|COLOR_ATTACHMENT|TRANSFER_SRC|TRANSFER_DST".into();
    Listed::Present(LayoutSupport { modifier, planes, features, handles })
}

fn vulkan_device() -> VulkanDevice {
    let format = |fourcc, layouts| FormatSupport { fourcc, vk_format: "B8G8R8A8_UNORM".into(), layouts };
    let layouts =
        || vec![layout(None, 1), layout(Some(Modifier::LINEAR), 1), layout(Some(TILED), 2), layout(Some(OTHER), 2)];
    VulkanDevice {
        name: "Some GPU".into(),
        kind: "discrete".into(),
        driver_name: "radv".into(),
        driver_info: "Mesa 26.1.6".into(),
        driver_version: 0x0680_1006,
        api_version: "1.4.354".into(),
        conformance: "1.4.0.0".into(),
        vendor_id: 0x1002,
        device_id: 0x73bf,
        driver_uuid: Uuid([1; 16]),
        device_uuid: Uuid([2; 16]),
        drm_nodes: vec!["226:0".into(), "226:128".into()],
        extensions: vec!["VK_KHR_external_memory_fd".into(), "VK_EXT_external_memory_dma_buf".into()],
        heaps: vec![MemoryHeap {
            size: 8 << 30,
            flags: "DEVICE_LOCAL".into(),
            types: vec![(0, "DEVICE_LOCAL".into()), (2, "DEVICE_LOCAL | HOST_VISIBLE".into())],
        }],
        buffers: vec![handle("dma_buf", false), handle("opaque_fd", false)],
        semaphores: vec![handle("sync_fd", false)],
        timelines: vec![handle("opaque_fd", false)],
        fences: vec![Listed::unavailable("sync_fd", "the device has no VK_KHR_external_fence_fd")],
        formats: vec![
            format(Fourcc::XR24, layouts()),
            format(Fourcc::RG24, Vec::new()),
            format(Fourcc::AR24, layouts()),
        ],
    }
}

fn card() -> DrmNode {
    let cap = |name: &str, value| Listed::Present(Cap { name: name.into(), value });
    let plane = |id| {
        Listed::Present(Plane {
            id,
            kind: "Overlay".into(),
            crtcs: vec![0, 1],
            formats: vec![
                Offer { fourcc: Fourcc::XR24, modifiers: vec![Modifier::LINEAR, TILED] },
                Offer { fourcc: Fourcc::AR24, modifiers: vec![Modifier::LINEAR, TILED] },
                Offer { fourcc: Fourcc::RG16, modifiers: vec![Modifier::LINEAR] },
            ],
            no_modifiers: None,
        })
    };
    DrmNode {
        path: "/dev/dri/card0".into(),
        device: "226:0".into(),
        driver: "amdgpu".into(),
        version: "3.64.0".into(),
        description: "AMD GPU".into(),
        parent: Some("pci 0000:03:00.0".into()),
        caps: vec![cap("PRIME", 3), cap("CURSOR_WIDTH", 256), cap("SYNCOBJ", 1), cap("ASYNC_PAGE_FLIP", 0)],
        accounting: vec!["drm-memory-vram".into()],
        modeset: Some(Listed::Present(Modeset {
            client_caps: vec![cap("ATOMIC", 1), Listed::unavailable("WRITEBACK_CONNECTORS", "EOPNOTSUPP")],
            crtcs: 2,
            planes: vec![plane(40), plane(41), Listed::unavailable("plane 42", "DRM_IOCTL_MODE_GETPLANE: EIO")],
            connectors: vec![Listed::Present(Connector {
                name: "Writeback-1".into(),
                id: 50,
                status: "unknown".into(),
                modes: 0,
                first_mode: None,
                largest: None,
                writeback: Some(Listed::Present(WritebackFormats { formats: vec![Fourcc::XR24] })),
            })],
        })),
    }
}

fn egl_display() -> EglDisplay {
    let listed = |modifier, external_only| EglModifier { modifier, external_only };
    let format = |code: &[u8; 4], modifiers| Listed::Present(EglFormat { fourcc: Fourcc::new(code), modifiers });
    let tiled = || vec![listed(Modifier::LINEAR, false), listed(TILED, false)];
    EglDisplay {
        platform: "surfaceless".into(),
        vendor: "Mesa Project".into(),
        version: "1.5".into(),
        renderer: "Some GPU".into(),
        gl_version: "OpenGL ES 3.2 Mesa 26.1.6".into(),
        extensions: vec!["EGL_EXT_image_dma_buf_import".into(), "EGL_KHR_fence_sync".into()],
        formats: vec![
            format(b"XR24", tiled()),
            format(b"AR24", tiled()),
            format(b"NV12", vec![listed(Modifier::LINEAR, true)]),
            format(b"R8  ", Vec::new()),
            Listed::unavailable("ZZ99", "eglQueryDmaBufModifiersEXT: EGL_BAD_PARAMETER"),
        ],
    }
}

fn gbm_node() -> GbmNode {
    let format = |code: &[u8; 4], uses: &[&str], planes| GbmFormat {
        fourcc: Fourcc::new(code),
        uses: uses.iter().map(|text| (*text).to_owned()).collect(),
        planes,
    };
    GbmNode {
        path: "/dev/dri/renderD128".into(),
        driver: "amdgpu".into(),
        backend: "drm".into(),
        memory: Listed::unavailable("memory", "gbm_bo_create: EACCES (Permission denied)"),
        formats: vec![
            format(b"XR24", &["scanout", "rendering"], Some(1)),
            format(b"AR24", &["scanout", "rendering"], Some(1)),
            format(b"NV12", &["linear"], Some(2)),
            format(b"R8  ", &["rendering"], None),
        ],
    }
}

fn machine() -> Inventory {
    let bare = Modeset { client_caps: Vec::new(), crtcs: 0, planes: Vec::new(), connectors: Vec::new() };
    let empty =
        DrmNode { path: "/dev/dri/card1".into(), modeset: Some(Listed::Present(bare)), caps: Vec::new(), ..card() };
    let video = |path: &str| V4l2Node {
        path: path.into(),
        driver: "vivid".into(),
        card: "vivid".into(),
        bus: "platform:vivid-000".into(),
        caps: vec!["VIDEO_CAPTURE".into(), "STREAMING".into()],
        queues: vec![Listed::Present(Queue {
            name: "VIDEO_CAPTURE".into(),
            formats: vec!["YUYV".into(); 40],
            formats_end: Some("VIDIOC_ENUM_FMT 40: EIO".into()),
            buffers: Listed::Present(BufferCaps { memory: vec!["MMAP".into()], more: vec!["REQUESTS".into()] }),
        })],
    };
    Inventory {
        kernel: Kernel { release: "7.3.4".into(), machine: "x86_64".into(), uml: true },
        libraries: vec![
            Listed::Present(LibraryFile { name: "libgbm.so.1".into(), path: "/usr/lib/libgbm.so.1.0.0".into() }),
            Listed::unavailable("libEGL.so.1", "cannot open shared object file; install EGL"),
        ],
        vulkan: Vulkan {
            loader_version: Some("1.4.309".into()),
            layers: vec!["VK_LAYER_KHRONOS_validation".into()],
            manifests: vec!["/usr/share/vulkan/icd.d/radeon_icd.json".into()],
            devices: vec![
                Listed::Present(vulkan_device()),
                Listed::unavailable(
                    "/etc/vulkan/icd.d/bad.json",
                    "the driver crashed the process that listed it: SIGSEGV",
                ),
            ],
            messages: (0..10).map(|n| format!("line {n}")).collect(),
        },
        drm: vec![
            Listed::Present(card()),
            Listed::Present(empty),
            Listed::unavailable("/dev/dri/renderD128", "open /dev/dri/renderD128: EACCES (Permission denied)"),
        ],
        egl: vec![
            Listed::Present(egl_display()),
            Listed::unavailable("gbm /dev/dri/card1", "eglInitialize on EGL GBM platform: NotInitialized"),
        ],
        gbm: vec![
            Listed::Present(gbm_node()),
            Listed::unavailable(
                "/dev/dri/card1",
                "opening a GBM device: open /dev/dri/card1: EACCES (Permission denied)",
            ),
        ],
        dma_heaps: vec![Listed::Present(DmaHeap { name: "system".into() })],
        udmabuf: Listed::Present(Udmabuf { path: "/dev/udmabuf".into(), size_limit_mib: Some(64), list_limit: None }),
        v4l2: vec![Listed::Present(video("/dev/video0")), Listed::Present(video("/dev/video1"))],
        observation: vec![
            Facility {
                name: "CRC".into(),
                path: "/sys/kernel/debug/dri/*/crtc-*/crc/control".into(),
                detail: Some("1 CRTC".into()),
                why_not: None,
            },
            Facility {
                name: "kernel log".into(),
                path: "/dev/kmsg".into(),
                detail: None,
                why_not: Some("open /dev/kmsg: EPERM (Operation not permitted); run as root".into()),
            },
        ],
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn the_text_shows_everything_in_120_columns() {
    let text = plain(&page(&machine()));
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > COLUMNS).collect();
    assert_eq!(long, [""; 0]);
    insta::assert_snapshot!(text);
}

#[test]
fn the_data_survives_json() {
    let machine = machine();
    let json = serde_json::to_string(&machine).expect("plain data");
    assert_eq!(serde_json::from_str::<Inventory>(&json).expect("own JSON"), machine);
}
