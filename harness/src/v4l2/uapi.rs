//! The structures and numbers of the V4L2 interface, as 64-bit user space has them.
//!
//! Source: `include/uapi/linux/videodev2.h` and `v4l2-common.h` of the kernel; names are those of the header without the
//! prefix. Pure data: the calls are in [`super::ioctl`].

/// Most planes that a multi-planar format has.
pub(crate) const MAX_PLANES: usize = 8;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Capability {
    pub(crate) driver: [u8; 16],
    pub(crate) card: [u8; 32],
    pub(crate) bus_info: [u8; 32],
    pub(crate) version: u32,
    pub(crate) capabilities: u32,
    pub(crate) device_caps: u32,
    pub(crate) reserved: [u32; 3],
}

impl Capability {
    /// What this node can do.
    pub(crate) fn of_node(&self) -> u32 {
        // Nodes of drivers from before 2012 have no device_caps; capabilities are those of the whole device then.
        if self.capabilities & CAP_DEVICE_CAPS == 0 { self.capabilities } else { self.device_caps }
    }
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct FmtDesc {
    pub(crate) index: u32,
    pub(crate) buf_type: u32,
    pub(crate) flags: u32,
    pub(crate) description: [u8; 32],
    pub(crate) pixelformat: u32,
    pub(crate) mbus_code: u32,
    pub(crate) reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`: a discrete size in the first two words of its union, or least, most and step of the width, then
/// of the height.
#[repr(C)]
#[derive(Default)]
pub(crate) struct FrameSize {
    pub(crate) index: u32,
    pub(crate) pixelformat: u32,
    pub(crate) kind: u32,
    pub(crate) sides: [u32; 6],
    pub(crate) reserved: [u32; 2],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct RequestBuffers {
    pub(crate) count: u32,
    pub(crate) buf_type: u32,
    pub(crate) memory: u32,
    pub(crate) capabilities: u32,
    pub(crate) flags: u8,
    pub(crate) reserved: [u8; 3],
}

/// `struct v4l2_format` of a single-planar queue, with `struct v4l2_pix_format` in its union.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) buf_type: u32,
    pub(crate) padding: u32,
    pub(crate) pix: Pix,
    pub(crate) rest: [u8; 152],
}

impl Format {
    pub(crate) fn new(buf_type: u32, pix: Pix) -> Self {
        Self { buf_type, padding: 0, pix, rest: [0; 152] }
    }
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Pix {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixelformat: u32,
    pub(crate) field: u32,
    pub(crate) bytesperline: u32,
    pub(crate) sizeimage: u32,
    pub(crate) colorspace: u32,
    pub(crate) private: u32,
    pub(crate) flags: u32,
    pub(crate) encoding: u32,
    pub(crate) quantization: u32,
    pub(crate) xfer_func: u32,
}

/// `struct v4l2_format` of a multi-planar queue, with `struct v4l2_pix_format_mplane` in its union.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct FormatMplane {
    pub(crate) buf_type: u32,
    pub(crate) padding: u32,
    pub(crate) pix: PixMplane,
    pub(crate) rest: [u8; 8],
}

impl FormatMplane {
    pub(crate) fn new(buf_type: u32, pix: PixMplane) -> Self {
        Self { buf_type, padding: 0, pix, rest: [0; 8] }
    }
}

/// `struct v4l2_pix_format_mplane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PixMplane {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixelformat: u32,
    pub(crate) field: u32,
    pub(crate) colorspace: u32,
    pub(crate) planes: [PlanePix; MAX_PLANES],
    pub(crate) num_planes: u8,
    pub(crate) flags: u8,
    pub(crate) encoding: u8,
    pub(crate) quantization: u8,
    pub(crate) xfer_func: u8,
    pub(crate) reserved: [u8; 7],
}

/// `struct v4l2_plane_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct PlanePix {
    pub(crate) sizeimage: u32,
    pub(crate) bytesperline: u32,
    pub(crate) reserved: [u16; 6],
}

/// The union `m` of `struct v4l2_buffer` and `struct v4l2_plane`: an fd or an offset in its first bytes, or an address.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub(crate) struct Place([u8; 8]);

impl Place {
    pub(crate) fn fd(fd: i32) -> Self {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&fd.to_ne_bytes());
        Self(bytes)
    }

    pub(crate) fn address(address: u64) -> Self {
        Self(address.to_ne_bytes())
    }
}

/// `struct v4l2_buffer`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Buffer {
    pub(crate) index: u32,
    pub(crate) buf_type: u32,
    pub(crate) bytesused: u32,
    pub(crate) flags: u32,
    pub(crate) field: u32,
    pub(crate) padding: u32,
    /// Seconds and microseconds.
    pub(crate) timestamp: [i64; 2],
    pub(crate) timecode: [u32; 4],
    pub(crate) sequence: u32,
    pub(crate) memory: u32,
    pub(crate) place: Place,
    pub(crate) length: u32,
    pub(crate) reserved: u32,
    pub(crate) request_fd: u32,
}

/// `struct v4l2_plane`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Plane {
    pub(crate) bytesused: u32,
    pub(crate) length: u32,
    pub(crate) place: Place,
    pub(crate) data_offset: u32,
    pub(crate) reserved: [u32; 11],
}

/// `struct v4l2_exportbuffer`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct ExportBuffer {
    pub(crate) buf_type: u32,
    pub(crate) index: u32,
    pub(crate) plane: u32,
    pub(crate) flags: u32,
    pub(crate) fd: i32,
    pub(crate) reserved: [u32; 11],
}

/// `struct v4l2_create_buffers`, with `F` [`Format`] or [`FormatMplane`].
#[repr(C)]
pub(crate) struct CreateBuffers<F> {
    pub(crate) index: u32,
    pub(crate) count: u32,
    pub(crate) memory: u32,
    pub(crate) format: F,
    pub(crate) capabilities: u32,
    pub(crate) flags: u32,
    pub(crate) max_num_buffers: u32,
    pub(crate) reserved: [u32; 5],
}

impl<F> CreateBuffers<F> {
    pub(crate) fn one(memory: u32, format: F) -> Self {
        let (capabilities, flags, max_num_buffers, reserved) = (0, 0, 0, [0; 5]);
        Self { index: 0, count: 1, memory, format, capabilities, flags, max_num_buffers, reserved }
    }
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) id: u32,
    pub(crate) value: i32,
}

/// `struct v4l2_queryctrl`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct QueryCtrl {
    pub(crate) id: u32,
    pub(crate) kind: u32,
    pub(crate) name: [u8; 32],
    pub(crate) minimum: i32,
    pub(crate) maximum: i32,
    pub(crate) step: i32,
    pub(crate) default_value: i32,
    pub(crate) flags: u32,
    pub(crate) reserved: [u32; 2],
}

/// `struct v4l2_querymenu`, of a menu of names.
#[repr(C)]
#[derive(Default)]
pub(crate) struct QueryMenu {
    pub(crate) id: u32,
    pub(crate) index: u32,
    pub(crate) name: [u8; 32],
    pub(crate) reserved: u32,
}

/// `struct v4l2_input`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) index: u32,
    pub(crate) name: [u8; 32],
    pub(crate) rest: [u32; 3],
    pub(crate) std: u64,
    pub(crate) tail: [u32; 6],
}

/// `struct v4l2_output`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) index: u32,
    pub(crate) name: [u8; 32],
    pub(crate) rest: [u32; 3],
    pub(crate) std: u64,
    pub(crate) tail: [u32; 4],
}

/// `struct v4l2_selection`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Selection {
    pub(crate) buf_type: u32,
    pub(crate) target: u32,
    pub(crate) flags: u32,
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) reserved: [u32; 9],
}

// What the calls rely on; on machines where this differs, the crate does not compile.
const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FmtDesc>() == 64);
    assert!(size_of::<FrameSize>() == 44);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<Format>() == 208);
    assert!(size_of::<FormatMplane>() == 208);
    assert!(size_of::<Buffer>() == 88);
    assert!(size_of::<Plane>() == 64);
    assert!(size_of::<ExportBuffer>() == 64);
    assert!(size_of::<CreateBuffers<Format>>() == 256);
    assert!(size_of::<CreateBuffers<FormatMplane>>() == 256);
    assert!(size_of::<Control>() == 8);
    assert!(size_of::<QueryCtrl>() == 68);
    assert!(size_of::<QueryMenu>() == 44);
    assert!(size_of::<Input>() == 80);
    assert!(size_of::<Output>() == 72);
    assert!(size_of::<Selection>() == 64);
};

pub(crate) const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
pub(crate) const BUF_TYPE_VIDEO_OUTPUT: u32 = 2;
pub(crate) const BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
pub(crate) const BUF_TYPE_VIDEO_OUTPUT_MPLANE: u32 = 10;
pub(crate) const BUF_TYPE_META_CAPTURE: u32 = 13;
pub(crate) const BUF_TYPE_META_OUTPUT: u32 = 14;

pub(crate) const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
pub(crate) const CAP_VIDEO_OUTPUT: u32 = 0x0000_0002;
pub(crate) const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
pub(crate) const CAP_VIDEO_OUTPUT_MPLANE: u32 = 0x0000_2000;
pub(crate) const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
pub(crate) const CAP_VIDEO_M2M: u32 = 0x0000_8000;
pub(crate) const CAP_META_CAPTURE: u32 = 0x0080_0000;
pub(crate) const CAP_STREAMING: u32 = 0x0400_0000;
pub(crate) const CAP_META_OUTPUT: u32 = 0x0800_0000;
pub(crate) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

pub(crate) const FMT_FLAG_COMPRESSED: u32 = 0x0001;

pub(crate) const MEMORY_MMAP: u32 = 1;
pub(crate) const MEMORY_USERPTR: u32 = 2;
pub(crate) const MEMORY_DMABUF: u32 = 4;

pub(crate) const BUF_CAP_SUPPORTS_MMAP: u32 = 0x01;
pub(crate) const BUF_CAP_SUPPORTS_USERPTR: u32 = 0x02;
pub(crate) const BUF_CAP_SUPPORTS_DMABUF: u32 = 0x04;
pub(crate) const BUF_CAP_SUPPORTS_ORPHANED_BUFS: u32 = 0x10;

pub(crate) const BUF_FLAG_ERROR: u32 = 0x40;

pub(crate) const FRMSIZE_TYPE_DISCRETE: u32 = 1;

pub(crate) const FIELD_ANY: u32 = 0;
pub(crate) const FIELD_NONE: u32 = 1;

pub(crate) const CTRL_FLAG_NEXT_CTRL: u32 = 0x8000_0000;
pub(crate) const CTRL_TYPE_MENU: u32 = 3;

pub(crate) const SEL_TGT_CROP: u32 = 0x0000;
pub(crate) const SEL_TGT_COMPOSE: u32 = 0x0100;

/// Text up to the first NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
