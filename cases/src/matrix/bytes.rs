//! Frames as bytes: a GPU takes the memory of every exporter in as a buffer, in which it knows of no frame, and hands the memory of
//! a buffer out to every importer, who finds a frame in it.
//!
//! Who uploads video and who takes screenshots does so. A driver may treat the memory of buffers otherwise than that of images: it
//! asks for another size, other memory types, and no layout.

use handover::ends::{Exporter, Importer, Parcel, Rows, Start, exporters, fillers, importers};
use handover::prelude::*;
use handover::vk::Span;

use super::{FIRST, GPUS, SIZES, check, cpu_sees, is_linear, parcels, seed, third_sees};

/// Memory behind a frame that devices may touch.
const BEHIND: u64 = 65536;

pub(super) fn register(cases: &mut Cases<Cx>) {
    for to in importers().into_iter().filter(|to| GPUS.contains(&to.role())) {
        for from in exporters().into_iter().chain(fillers()) {
            let Some(&parcel) = parcels(from, to, 0, |_| true).first() else { continue };
            let name = format!("matrix::arrives_as_bytes::{}_to_{}::{parcel}", from.role(), to.role());
            let case =
                cases.add(name, move |cx| arrives_as_bytes(cx, from, to, parcel)).from(from.role()).to(to.role());
            if to.role() == GpuA {
                case.must_fail_under("import-copies");
            } else if from.role() == Udmabuf {
                // The screen is but one more reader.
                case.must_fail_under("addfb2-red-blue");
            }
        }
    }
    for gpu in GPUS {
        for to in importers() {
            let Some(parcel) = told_to(to) else { continue };
            let name = format!("matrix::arrives_from_a_buffer::{gpu}_to_{}::{parcel}", to.role());
            let case = cases.add(name, move |cx| arrives_from_a_buffer(cx, gpu, to, parcel)).from(gpu).to(to.role());
            if gpu == GpuA && parcel.start == Start::Behind {
                case.must_fail_under("buffer-bound-at-zero");
            }
        }
    }
}

/// A frame that lies where it is told, which `to` could take: behind somebody else's memory if it can.
fn told_to(to: &dyn Importer) -> Option<Parcel> {
    let plain = |fourcc| Parcel::of(fourcc, SIZES[0]);
    let padded = |fourcc| Parcel { rows: Rows::Padded, ..plain(fourcc) };
    let behind = |fourcc| Parcel { start: Start::Behind, ..padded(fourcc) };
    let can = |parcel: &Parcel| {
        // vkms shows wrong what does not begin with the first byte.
        let is_known = to.role() == Screen && parcel.begins_behind();
        to.can(parcel) && !is_known
    };
    [behind(Fourcc::XR24), padded(Fourcc::XR24), padded(Fourcc::AR24), plain(Fourcc::RG16)].into_iter().find(can)
}

/// The words of `bytes`, whose number is a multiple of 4.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
}

/// What the exporter draws a GPU copies out of its memory, which it took in as a buffer; what it copies into that the exporter
/// sees, the CPU, and a third.
fn arrives_as_bytes(cx: &mut Cx, from: &'static dyn Exporter, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    check(cx, from, to, &parcel)?;
    let (role, gpu) = (to.role(), cx.gpu(to.role())?);
    let mut exported = from.export(cx, &parcel, to)?;
    let target = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    if !is_linear(exported.buffer()) {
        return Err(Trouble::Skip(format!("where {} lays the pixels of its bytes only its driver knows", from.role())));
    }
    seed(cx, exported.as_mut(), &target)?;
    let taken = cx.hold(&Guest::Gpu(&gpu), exported.buffer(), Access::Write, |shared| {
        let whole = Span { offset: 0, size: shared.dmabuf.size };
        Ok((gpu.import_buffer(&shared.dmabuf, whole, false)?, shared.frame.clone()))
    })?;
    let (bytes, frame) = &*taken;
    exported.draw(cx, FIRST)?;
    let mut seen: Vec<u8> = bytes.read_back()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    cx.sees(format!("{role}, in a buffer,"), &target, &Picture::of_frame(frame, &seen)?)?;
    cx.cpu_sees(exported.buffer(), &target)?;
    let next = Target::stamped(FIRST + 1, parcel.fourcc, parcel.size)?;
    next.picture.write_to(frame, &mut seen)?;
    bytes.upload(&words(&seen))?;
    cx.cpu_sees_of(&format!("cpu, where {role} copied bytes to,"), exported.buffer(), &next)?;
    exported.sees(cx, &next)?;
    third_sees(cx, [from.role(), role], &parcel, exported.buffer(), &next)?;
    cx.agree()
}

/// What a GPU copies into a buffer of its own is the frame that the importer finds in the memory of that buffer, the CPU, and a third.
fn arrives_from_a_buffer(cx: &mut Cx, gpu: Role, to: &'static dyn Importer, parcel: Parcel) -> Outcome {
    if let Some(why) = to.lacks(cx, &parcel)? {
        return Err(Trouble::Skip(format!("{} can't take it in: {why}", to.role())));
    }
    let tight = || (Frame::linear(parcel.fourcc, parcel.size, Plane { offset: 0, pitch: parcel.row() }), 0);
    let (mut frame, _) = parcel.told().unwrap_or_else(tight);
    let (device, before) = (cx.gpu(gpu)?, parcel.start.bytes());
    // The buffer begins with the frame, and is no larger.
    frame.planes.iter_mut().for_each(|plane| plane.offset -= before);
    let size = frame.end()?.next_multiple_of(4);
    let room = Room::SubAllocated { before, after: BEHIND };
    let own = device.create_buffer(&BufferRequest { size, room, export: vec![HandleType::DmaBuf] })?;
    let placed = |plane: &Plane| Plane { offset: plane.offset + own.span().offset, ..*plane };
    let in_memory = Frame { planes: frame.planes.iter().map(placed).collect(), ..frame.clone() };
    let shared = SharedFrame { dmabuf: own.export_dmabuf()?, frame: in_memory };
    let buffer = cx.publish(Guest::Gpu(&device), shared)?;
    let target = Target::stamped(FIRST, parcel.fourcc, parcel.size)?;
    cx.fact("drawn by", format!("{gpu}, which copied it into a buffer"));
    let mut bytes = vec![0; size as usize];
    for picture in target.before.iter().chain([&target.picture]) {
        picture.write_to(&frame, &mut bytes)?;
        cx.mapped(&Guest::Gpu(&device), &buffer, Access::Write, |_, _| Ok(own.upload(&words(&bytes))?))?;
    }
    cpu_sees(cx, to, &buffer, &target)?;
    to.import(cx, &buffer)?.sees(cx, &target)?;
    third_sees(cx, [gpu, to.role()], &parcel, &buffer, &target)?;
    cx.agree()
}
