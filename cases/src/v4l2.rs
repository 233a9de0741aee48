//! Video devices that fill buffers, that take several for a frame, and that code what they are given.
//!
//! What a loop reads and writes of every exporter's frames is in `matrix`; here is what other devices have no word for.

use handover::dmabuf::page_size;
use handover::ends::{Exporter, Parcel, exporters, importers};
use handover::prelude::*;
use handover::share::heap::Heaps;
use handover::udmabuf;
use handover::v4l2::{self, Direction, Given, MemoryPlane, PixelFormat, PlaneFormat};

/// The smallest frame that the codec takes; its rows are no multiple of a page.
const CODED: Size = px(640, 360);

/// Luma and chroma, each in a buffer of its own (`V4L2_PIX_FMT_NV16M`): what its samples mean is of no matter here, since a loop
/// copies bytes.
const TWO_PLANES: PixelFormat = PixelFormat::new(b"NM16");

pub(crate) fn register(cases: &mut Cases<Cx>) {
    // With one component a pixel, and from one and to another exporter with four. Not XR24: the codec codes padding, too, and
    // what is there is nobody's business.
    for end in exporters() {
        let role = end.role();
        let fourcc = |with_four| if role == with_four { Fourcc::AR24 } else { Fourcc::R8 };
        let needs = |direction: fn(Role, String) -> Need, fourcc: Fourcc| direction(Codec, fourcc.to_string());
        let from = fourcc(GpuA);
        if end.can(&Parcel::of(from, CODED)) {
            let name = format!("v4l2::codes_an_imported_frame_as_its_own::{role}::{from}");
            let case = cases.add(name, move |cx| codes(cx, end, from)).from(role).to(Codec);
            case.needs(needs(|role, format| Need::Imports { role, format }, from));
            if [GpuA, Udmabuf, Screen].contains(&role) {
                case.must_fail_under("dqbuf-empty").must_fail_under("qbuf-sends-nothing");
            }
        }
        let to = fourcc(Udmabuf);
        if end.can(&Parcel::of(to, CODED)) {
            let name = format!("v4l2::decodes_into_an_imported_frame_as_into_its_own::{role}::{to}");
            let case = cases.add(name, move |cx| decodes(cx, end, to)).from(Codec).to(role);
            case.needs(needs(|role, format| Need::Exports { role, format }, to));
            if [Udmabuf, DmaHeap, Screen].contains(&role) {
                case.must_fail_under("qbuf-first-buffer");
            }
        }
    }
    cases
        .add("v4l2::names_a_device_that_is_unplugged_and_finds_it_again", finds_it_again)
        .from(Udmabuf)
        .to(Converter)
        .must_fail_under("unplugged-as-eio");
    cases.add("v4l2::narrows_every_pixel_of_a_row", narrows).from(Converter).known(
        "vim2m",
        "cases/findings/vim2m-565-pairs.md",
        "pixels differ: the buffer that vim2m…filled does not see the target",
    );
    cases.add("v4l2::exports_each_of_its_buffers", exports_each).from(Converter).must_fail_under("expbuf-first-buffer");
    for (name, offsets) in [("from_the_first_byte", [0, 0]), ("behind_others", [4096, 8192])] {
        let case = cases
            .add(format!("v4l2::copies_each_plane_from_its_own_buffer::{name}"), move |cx| copies_planes(cx, offsets));
        case.from(Udmabuf).to(PlanarVideo);
        if offsets != [0, 0] {
            case.must_fail_under("video-data-offset-dropped");
        }
    }
}

/// A frame of `from`'s own that holds the pattern of `stamp`, and its pixels.
fn frame_of(cx: &mut Cx, from: &'static dyn Exporter, fourcc: Fourcc, stamp: u32) -> Result<(Buffer, Target), Trouble> {
    let parcel = Parcel::of(fourcc, CODED);
    if let Some(why) = from.lacks(cx, &parcel)? {
        return Err(Trouble::Skip(format!("{} can't hand it out: {why}", from.role())));
    }
    let target = Target::stamped(stamp, fourcc, CODED)?;
    let before = target.before.clone();
    // Rows lie as the codec has them, where that is for others to say.
    if let Ok(heap) = cx.heap(from.role()) {
        let codec = cx.codec()?;
        let buffer = cx.share(fourcc, CODED, Heaps::new([heap]), &[Guest::Cpu, Guest::Video(codec.encoder())])?;
        cx.cpu_writes(&buffer, &target.picture)?;
        return Ok((buffer, target));
    }
    let processor = importers().into_iter().find(|to| to.role() == Cpu);
    let processor = processor.ok_or_else(|| Trouble::Skip("the CPU is no importer".to_owned()))?;
    let mut exported = from.export(cx, &parcel, processor)?;
    if let Some(before) = &before {
        cx.cpu_writes(exported.buffer(), before)?;
    }
    exported.draw(cx, stamp)?;
    Ok((exported.buffer().clone(), target))
}

/// The stream of a frame in somebody else's memory is that of the same picture in the device's own, byte for byte.
///
/// The code loses some of the picture in ways of its own, so no other reference is exact. That the streams of two frames differ
/// shows that the device looks at the picture at all.
fn codes(cx: &mut Cx, from: &'static dyn Exporter, fourcc: Fourcc) -> Outcome {
    let codec = cx.codec()?;
    let (buffer, target) = frame_of(cx, from, fourcc, 7)?;
    cx.cpu_sees(&buffer, &target)?;
    let own = codec.encode(Given::Own(&target.picture))?;
    let imported = cx.mapped(&Guest::Video(codec.encoder()), &buffer, Access::Read, |_, shared| {
        missing_is_skip(codec.encode(Given::Dmabuf(shared)))
    })?;
    cx.equals("bytes of the stream", own.len(), imported.len());
    if own.len() == imported.len() {
        cx.sees_bytes("codec (imported frame)", &own, &imported)?;
    }
    if let Some(before) = &target.before {
        let other = codec.encode(Given::Own(before))?;
        cx.claim("streams of two frames", other != own, || Finding::new("two frames have the same stream"));
    }
    cx.agree()
}

/// A frame that the device decodes into somebody else's memory is the one that it decodes into its own.
///
/// As for [`codes`], the device is its own reference; that the frame is nearer to its original than to another one shows that
/// it is a picture of something.
fn decodes(cx: &mut Cx, to: &'static dyn Exporter, fourcc: Fourcc) -> Outcome {
    let codec = cx.codec()?;
    let original = Target::stamped(7, fourcc, CODED)?;
    let stream = codec.encode(Given::Own(&original.picture))?;
    let own = codec.decode(&stream, fourcc, CODED)?;
    // It holds another frame before.
    let (buffer, before) = frame_of(cx, to, fourcc, 2)?;
    cx.mapped(&Guest::Filler(codec.decoder()), &buffer, Access::Write, |_, shared| {
        missing_is_skip(codec.decode_into(&stream, shared))
    })?;
    let [near, far] = [&original.picture, &before.picture].map(|picture| distance(&own, picture));
    // The pattern is half noise, of which this code keeps little.
    cx.claim("likeness", near < far / 4 * 3, || {
        Finding::new("what the codec decodes is not like what it was given")
            .row("distance", format!("{near} from the original, {far} from another frame, in steps of a component"))
    });
    let target = Target { picture: own, before: Some(before.picture) };
    let seen = cx.mapped(&Guest::Cpu, &buffer, Access::Read, |_, shared| Ok(shared.read_back()?))?;
    cx.sees(format!("the buffer that was queued at {}", codec.decoder()), &target, &seen)?;
    cx.agree()
}

/// Sum of the differences of all bytes.
fn distance(one: &Picture, other: &Picture) -> u64 {
    one.bytes.iter().zip(&other.bytes).map(|(one, other)| u64::from(one.abs_diff(*other))).sum()
}

/// Each buffer of a queue, exported, is a dma-buf of its own with bytes of its own; exported again, it has the same bytes.
/// Each is of another size, by which it is known.
fn exports_each(cx: &mut Cx) -> Outcome {
    const BUFFERS: u32 = 3;
    let device = v4l2::Device::open(cx.converter()?.device().node())?;
    let mut queue = v4l2::Queue::open(&device, Direction::Capture)?;
    let page = page_size() as u32;
    let least = queue.format().planes.first().map_or(0, |plane| plane.bytes).next_multiple_of(page);
    let size = |index: u32| least + index * page;
    for index in 0..BUFFERS {
        cx.equals("slot of a new buffer", index, queue.create(size(index))?);
    }
    let exported = (0..BUFFERS).map(|index| queue.export(index)).collect::<Result<Vec<_>>>()?;
    for (index, dmabuf) in (0..BUFFERS).zip(&exported) {
        let other = (0..BUFFERS).find(|other| *other != index && dmabuf.size == u64::from(size(*other)));
        cx.claim(format!("size of buffer {index}, exported"), other.is_none(), || {
            let other = other.unwrap_or_default();
            Finding::new(format!("VIDIOC_EXPBUF of buffer {index} hands out buffer {other}"))
                .row("object", device.to_string())
                .row("target", format!("{} B", size(index)))
                .row("actual", format!("{} B, as only buffer {other} has", dmabuf.size))
                .row("like", "an export that does not look at the index")
        });
        dmabuf.map()?.write(0, &[index as u8 + 1; 64])?;
    }
    for (index, dmabuf) in (0..BUFFERS).zip(&exported) {
        let bytes = [index as u8 + 1; 64];
        cx.sees_bytes(format!("buffer {index}, when all were written,"), &bytes, &dmabuf.map()?.read(0..64)?)?;
        cx.sees_bytes(format!("buffer {index}, exported again,"), &bytes, &queue.export(index)?.map()?.read(0..64)?)?;
    }
    cx.agree()
}

/// A device that makes fewer bits of many does so for every pixel: whether it rounds or cuts off, each has the nearest value there
/// is, since it was given that.
fn narrows(cx: &mut Cx) -> Outcome {
    let size = px(64, 64);
    let converter = cx.converter()?;
    let target = Target { before: None, ..Target::stamped(7, Fourcc::RG16, size)? };
    let mut own = missing_is_skip(converter.own(size, Fourcc::BG24))?;
    own.fill(&target.picture)?;
    let reader = format!("the buffer that {} filled", converter.device());
    cx.sees(reader, &target, &own.shared()?.read_back()?)?;
    cx.agree()
}

/// Whoever uses a device that has been unplugged gets an error that names it and says so, in time; when the device is back it is
/// found again, and works.
fn finds_it_again(cx: &mut Cx) -> Outcome {
    let frame = Frame::linear(Fourcc::RG16, px(64, 64), Plane { offset: 0, pitch: 128 });
    let shared = udmabuf::for_frame(frame, 0)?;
    let target = Target::stamped(7, Fourcc::RG16, px(64, 64))?;
    shared.write(&target.picture)?;
    let converter = cx.converter()?;
    let unplugged = match converter.device().unplug() {
        Ok(unplugged) => unplugged,
        Err(why) => return Err(Trouble::Skip(why.to_string())),
    };
    let name = converter.device().to_string();
    let refused = converter.seen_of(&shared);
    let names_it = |text: &str| text.contains("ENODEV") && text.contains(&name);
    let text = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
    cx.claim("the error", names_it(&text), || {
        Finding::new(format!("{name} was unplugged, and the error does not say so"))
            .row("actual", text)
            .row("like", "another errno than ENODEV, after which a program tries again")
    });
    // Nobody has it open when it comes back, so that it may have its number again.
    drop((refused, converter));
    cx.forget_unplugged();
    drop(unplugged);
    let expected = Target { picture: v4l2::Converter::target(&target.picture)?, before: None };
    let seen = cx.converter()?.seen_of(&shared)?;
    cx.sees("converter, plugged in again", &expected, &seen)?;
    cx.agree()
}

/// A frame whose planes lie in two buffers is read from both, where its offsets say, and written into two others, where the
/// device says.
fn copies_planes(cx: &mut Cx, offsets: [u64; 2]) -> Outcome {
    let size = px(250, 130);
    let video = cx.video_loop(PlanarVideo)?;
    let planes = video.planes(TWO_PLANES, size)?;
    let &[luma, chroma] = planes.as_slice() else {
        let why = format!("{TWO_PLANES} has {} memory planes instead of 2", planes.len());
        return Err(Finding::new(why).into());
    };
    let from = [bytes(11, luma, offsets[0])?, bytes(12, chroma, offsets[1])?];
    let into = [bytes(13, luma, 0)?, bytes(14, chroma, 0)?];
    let before = [into[0].1.bytes.clone(), into[1].1.bytes.clone()];
    let place = |memory: &'static str, buffers: &[(SharedFrame, Picture); 2]| {
        format!("{memory}: {} and {}", buffers[0].0.dmabuf, buffers[1].0.dmabuf)
    };
    cx.fact("buffers", format!("{}; {}", place("from", &from), place("into", &into)));
    let at = |n: usize| MemoryPlane { dmabuf: &from[n].0.dmabuf, offset: offsets[n] };
    let to = |n: usize| MemoryPlane { dmabuf: &into[n].0.dmabuf, offset: 0 };
    let done = video.copy_planes(TWO_PLANES, size, &[at(0), at(1)], &[to(0), to(1)])?;
    for (n, plane) in [luma, chroma].into_iter().enumerate() {
        let length = plane.pitch as usize * size.height as usize;
        let offset = offsets[n] as usize;
        let sent = from[n].1.bytes.get(offset..offset + length).unwrap_or_default();
        let put = done.offsets.get(n).map_or(0, |put| *put as usize);
        let arrived = into[n].0.read_back()?.bytes;
        let (head, behind) = (arrived.get(put..put + length), arrived.get(put + length..));
        cx.sees_bytes(format!("plane {n}"), sent, head.unwrap_or_default())?;
        // The device's own offset is its own to fill; what is behind the plane is not.
        let guard = before[n].get(put + length..).unwrap_or_default();
        cx.sees_bytes(format!("bytes behind plane {n}"), guard, behind.unwrap_or_default())?;
    }
    cx.agree()
}

/// A buffer for `plane` from byte `offset` on, with room behind it, and the bytes that it was filled with: those of the pattern
/// of `stamp`, so that no two buffers are alike.
fn bytes(stamp: u32, plane: PlaneFormat, offset: u64) -> Result<(SharedFrame, Picture)> {
    const BEHIND: u64 = 4096;
    let pitch = u64::from(plane.pitch);
    let rows = (offset + u64::from(plane.bytes) + BEHIND).div_ceil(pitch);
    let size = px(plane.pitch, rows as u32);
    let shared = udmabuf::for_frame(Frame::linear(Fourcc::R8, size, Plane { offset: 0, pitch }), 0)?;
    let picture = Pattern { stamp }.picture(Fourcc::R8, size)?;
    shared.write(&picture)?;
    Ok((shared, picture))
}
