//! Who owns what afterwards: which call takes an fd and which only borrows it, what an exported fd is, and how long a
//! buffer lives.
//!
//! - Vulkan takes the fd of a successful import, and of no other (`VkImportMemoryFdInfoKHR`). EGL, GBM, KMS and V4L2
//!   never take it (`EGL_EXT_image_dma_buf_import`: "EGL does not retain ownership of the file descriptor"; "PRIME
//!   Buffer Sharing" and "Streaming I/O (DMA buffer importing)" of the kernel's documentation).
//! - Each export is a new fd, open for reading and writing, closed on exec, of the same dma-buf, and really a dma-buf.
//! - A buffer lives until the last who has it lets go, whoever that is.
//!
//! Every case of the harness is held to the first two by the ledger. What is here does it a hundred times, with each
//! call failing, and in every order.

use handover::dmabuf::AccessMode;
use handover::ends::{Exporter, Importer, Parcel, exporters, importers};
use handover::gbm::{NodeKind, Usage};
use handover::prelude::*;
use handover::udmabuf;

use crate::drivers::LAVAPIPE_25_0;

mod closing;
mod failing;
mod loops;

/// Small, in whole blocks of rows, and with rows that every device takes.
const SIZE: Size = px(64, 16);
const PITCH: u64 = 256;

/// Behind the frame, for devices that draw or read in blocks of rows.
const BEHIND: u64 = 65536;

pub(crate) fn register(cases: &mut Cases<Cx>) {
    loops::register(cases);
    failing::register(cases);
    closing::register(cases);
    for from in exporters() {
        let role = from.role();
        let name = format!("ownership::hands_out_an_fd_to_read_and_write_that_is_closed_on_exec::{role}");
        let case = cases.add(name, move |cx| hands_out(cx, from));
        case.from(role);
        if role == Vgem {
            case.must_fail_under("prime-export-inherited").must_fail_under("prime-export-read-only");
        }
        if role == GpuA {
            case.known(LAVAPIPE_25_0, "cases/findings/lavapipe-no-cloexec.md", "the fd is not closed on exec");
        }
    }
    for to in importers() {
        let role = to.role();
        let case = cases
            .add(format!("ownership::leaves_the_fd_to_its_owner::{role}"), move |cx| leaves_the_fd(cx, to))
            .from(Udmabuf)
            .to(role);
        if role == Gles {
            case.must_fail_under("egl-import-takes-fd").fails_with("which it was only lent, is closed");
        }
    }
    for node in [NodeKind::Card, NodeKind::Render] {
        let name = format!("ownership::gbm_lets_go_of_what_it_took_in::{node}");
        let case = cases.add(name, move |cx| gbm_lets_go(cx, node)).from(Udmabuf).to(Gbm);
        match node {
            NodeKind::Card => case.must_fail_under("gbm-object-kept"),
            NodeKind::Render => {
                case.known("vgem", "cases/findings/gbm-render-node-leak.md", "is still there when GBM has let go")
            }
        };
    }
    for gpu in [GpuA, GpuB] {
        for (what, handles) in [
            ("dma_buf", vec![HandleType::DmaBuf]),
            ("dma_buf_and_opaque_fd", vec![HandleType::DmaBuf, HandleType::OpaqueFd]),
            ("opaque_fd_and_dma_buf", vec![HandleType::OpaqueFd, HandleType::DmaBuf]),
        ] {
            for kind in ["image", "buffer"] {
                let (handles, alone) = (handles.clone(), handles.len() == 1);
                let name = format!("ownership::what_is_exported_as_dma_buf_is_one::{gpu}::{kind}_for_{what}");
                let case = cases.add(name, move |cx| is_a_dma_buf(cx, gpu, kind == "image", &handles));
                case.from(gpu).to(Vgem);
                // No driver of the sandbox gives memory both ways.
                if alone {
                    case.must_fail_under("memfd-for-dmabuf").fails_with("not a dma-buf");
                }
            }
        }
    }
}

/// A frame in memory of nobody's, drawn by the CPU.
fn drawn(stamp: u32) -> Result<SharedFrame> {
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch: PITCH });
    let shared = udmabuf::for_frame(frame, BEHIND)?;
    shared.write(&Pattern { stamp }.picture(Fourcc::XR24, SIZE)?)?;
    Ok(shared)
}

/// A bo that was imported and destroyed keeps nothing of the buffer.
fn gbm_lets_go(cx: &mut Cx, node: NodeKind) -> Outcome {
    let device = cx.gbm()?;
    let gbm = device.node(node)?;
    let shared = drawn(7)?;
    let target = Target::from(Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?);
    cx.sees(gbm.name(), &target, &gbm.import(&shared, Usage::default())?.read()?)?;
    cx.drivers_look_away()?;
    let identity = shared.dmabuf.identity()?;
    drop(shared);
    let entry = if cx.is_gone(&identity)? { None } else { cx.listed(&identity)? };
    cx.claim("freed", entry.is_none(), || {
        let finding = Finding::new("the buffer is still there when GBM has let go, and everybody else");
        finding
            .row("kernel", entry.map_or_else(String::new, |entry| format!("{entry:?}")))
            .row("like", "an object that is not destroyed, or one that keeps the handle of its buffer")
    });
    cx.agree()
}

/// What the exporter can hand out of ordinary frames, as the matrix has them.
fn hands_out(cx: &mut Cx, from: &'static dyn Exporter) -> Outcome {
    let to = importers().into_iter().find(|importer| importer.role() == Cpu);
    let to = to.ok_or_else(|| Trouble::Skip("the CPU is no importer".to_owned()))?;
    let parcels = [Fourcc::XR24, Fourcc::AB24].map(|fourcc| Parcel::of(fourcc, px(64, 64)));
    let Some(parcel) = parcels.into_iter().find(|parcel| from.can(parcel)) else {
        return Err(Trouble::Skip(format!("{} hands out neither XR24 nor AB24", from.role())));
    };
    if let Some(why) = from.lacks(cx, &parcel)? {
        return Err(Trouble::Skip(why));
    }
    let mut exported = from.export(cx, &parcel, to)?;
    let buffer = exported.buffer().clone();
    let (cloexec, mode) = cx.mapped(&Guest::Cpu, &buffer, Access::Read, |_, shared| {
        Ok((shared.dmabuf.came_close_on_exec(), shared.dmabuf.access_mode()?))
    })?;
    if mode != AccessMode::ReadWrite {
        let why = format!("the fd is {mode} and not O_RDWR: who is given the buffer can't draw into it");
        let like = "an export that does not say that the fd is to be written through (DRM_RDWR)";
        return Err(Finding::new(why).row("like", like).into());
    }
    exported.draw(cx, 7)?;
    cx.claim("close-on-exec", cloexec, || {
        Finding::new("the fd is not closed on exec: every program that is started gets the buffer")
            .row("like", "an export without O_CLOEXEC, which is set later or by nobody")
    });
    cx.cpu_sees(&buffer, &Target::stamped(7, parcel.fourcc, parcel.size)?)?;
    cx.agree()
}

/// Whoever takes a buffer in leaves the fd open, and the buffer's, while it has it and when it has let go; Vulkan,
/// which takes an fd, is given a duplicate.
fn leaves_the_fd(cx: &mut Cx, to: &'static dyn Importer) -> Outcome {
    let candidates = [Fourcc::XR24, Fourcc::AR24, Fourcc::AB24, Fourcc::RG16, Fourcc::R8];
    let parcel = |fourcc| Parcel::of(fourcc, px(64, 64));
    let mut lack = format!("{} takes none of five formats", to.role());
    for parcel in candidates.map(parcel).into_iter().filter(|parcel| to.can(parcel)) {
        if let Some(why) = to.lacks(cx, &parcel)? {
            lack = why;
            continue;
        }
        let pitch = parcel.row().next_multiple_of(64);
        let frame = Frame::linear(parcel.fourcc, parcel.size, Plane { offset: 0, pitch });
        let buffer = cx.publish(Guest::Cpu, udmabuf::for_frame(frame, BEHIND)?)?;
        let target = Target::stamped(7, parcel.fourcc, parcel.size)?;
        if let Some(before) = &target.before {
            cx.cpu_writes(&buffer, before)?;
        }
        cx.cpu_writes(&buffer, &target.picture)?;
        let open = |cx: &mut Cx, when: &str| {
            let storage = buffer.storage();
            let open = storage.is_some_and(|storage| storage.shared.dmabuf.is_open());
            cx.claim(format!("the fd {when}"), open, || {
                Finding::new(format!("the fd of the buffer is closed {when}, by somebody to whom it was only lent"))
            });
        };
        let mut imported = match to.import(cx, &buffer) {
            Err(Trouble::Skip(why)) => {
                lack = why;
                continue;
            }
            other => other?,
        };
        // Of a file that is closed nothing more can be said, and its number may be anybody's by now.
        open(cx, "when it was imported");
        if cx.disagrees() {
            return cx.agree();
        }
        imported.sees(cx, &target)?;
        open(cx, "while it is imported");
        drop(imported);
        open(cx, "when the importer has let go");
        cx.cpu_sees(&buffer, &target)?;
        return cx.agree();
    }
    Err(Trouble::Skip(lack))
}

/// An fd that is handed out as dma-buf answers like one, whatever else the memory could be exported as: to fstatfs (as
/// every export of the harness must), fdinfo, `DMA_BUF_IOCTL_SYNC` and PRIME, with the bytes that the GPU wrote.
fn is_a_dma_buf(cx: &mut Cx, gpu: Role, image: bool, handles: &[HandleType]) -> Outcome {
    let gpu = cx.gpu(gpu)?;
    let prime = cx.prime(Vgem)?;
    let export = handles.to_vec();
    let words = 4096_u32;
    let (shared, target, _keep): (SharedFrame, Vec<u8>, Box<dyn std::any::Any>) = if image {
        let layout = Layout::Modifiers(vec![Modifier::LINEAR]);
        let room = Room::Dedicated;
        let request = ImageRequest { size: px(64, 64), fourcc: Fourcc::XR24, layout, room, export };
        let image = missing_is_skip(gpu.create_image(&request))?;
        image.draw_pattern(7)?;
        let shared = image.export_dmabuf()?;
        (shared, Pattern { stamp: 7 }.picture(Fourcc::XR24, px(64, 64))?.bytes, Box::new(image))
    } else {
        let request = BufferRequest { size: u64::from(words) * 4, room: Room::Dedicated, export };
        let buffer = missing_is_skip(gpu.create_buffer(&request))?;
        buffer.fill(7)?;
        let frame = Frame::linear(Fourcc::R8, px(words * 4, 1), Plane { offset: 0, pitch: u64::from(words) * 4 });
        let shared = SharedFrame { dmabuf: buffer.export_dmabuf()?, frame };
        let bytes = noise_words(7, words).into_iter().flat_map(u32::to_ne_bytes).collect();
        (shared, bytes, Box::new(buffer))
    };
    let info = shared.dmabuf.fdinfo().map_err(|why| Trouble::Skip(why.to_string()))?;
    cx.claim("exp_name in fdinfo", !info.exporter.is_empty(), || Finding::new("fdinfo names no exporter"));
    let bytes = |picture: &Picture| -> Vec<u8> {
        // The fourth byte of XR24 is nobody's.
        let mut bytes = picture.bytes.clone();
        if image {
            bytes.chunks_exact_mut(4).for_each(|pixel| pixel[3] = 0);
        }
        bytes
    };
    let mut target = target;
    if image {
        target.chunks_exact_mut(4).for_each(|pixel| pixel[3] = 0);
    }
    // Mapped, with DMA_BUF_IOCTL_SYNC around the access.
    cx.sees_bytes("cpu", &target, &bytes(&shared.read_back()?))?;
    let handed_on = prime.import(&shared.dmabuf)?.export()?;
    cx.equals("inode that PRIME hands on", shared.dmabuf.inode(), handed_on.inode());
    let handed_on = SharedFrame { dmabuf: handed_on, frame: shared.frame.clone() };
    cx.sees_bytes("cpu, of what PRIME hands on", &target, &bytes(&handed_on.read_back()?))?;
    cx.agree()
}
