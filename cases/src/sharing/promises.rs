//! Storage that is not what it is said to be: heaps that promise too much or give too much, buffers that are too small.

use std::sync::Arc;

use handover::dmabuf::page_size;
use handover::error::Error;
use handover::prelude::*;
use handover::share::agreement::Wish;
use handover::share::constraints::{Bytes, Constraints, Party};
use handover::share::heap::{Heaps, Offer};
use handover::share::heaps::Kind;
use handover::share::refused::ShareError;
use handover::udmabuf;

use super::Memory::Of;
use super::{FOURCC, SIZE, SYSTEM, UDMABUF, easy, heap};

pub(super) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("sharing::memory_that_breaks_its_promise_is_found_out", broken_promise)
        .to(DmaVideo)
        .must_fail_under("qbuf-unchecked");
    cases
        .add("sharing::a_buffer_that_is_too_small_is_refused", too_small_is_refused)
        .from(Udmabuf)
        .must_fail_under("size-rounded");
    cases
        .add("sharing::a_heap_that_gives_too_much_is_passed_over", too_much_is_passed_over)
        .must_fail_under("needs-unsaid");
    cases.add("sharing::a_move_never_changes_the_format", format_stays).must_fail_under("move-converts");
    cases
        .add("sharing::planar_contents_survive_a_change_of_layout", planar_contents_survive)
        .must_fail_under("move-loses-contents");
}

/// A heap that says that its memory is contiguous, and gives such that no device can see so.
struct Promises(Offer);

impl Heap for Promises {
    fn offer(&self) -> &Offer {
        &self.0
    }

    fn allocate(&self, agreement: &Agreement) -> Result<Storage> {
        let page = page_size();
        let dmabuf = udmabuf::folded(agreement.bytes.next_multiple_of(2 * page))?;
        Ok(Storage::new(self.0.heap.clone(), SharedFrame { dmabuf, frame: agreement.frame.clone() }))
    }
}

/// S3: what a heap promises is held against what the kernel shows: scattered memory in the hands of a device that needs one
/// run of addresses is found out, whatever the heap said.
fn broken_promise(cx: &mut Cx) -> Outcome {
    let video = cx.video_loop(DmaVideo)?;
    let guest = Guest::Video(video.output());
    let udmabuf = heap(cx, UDMABUF)?;
    let honest = udmabuf.offers().first().cloned().ok_or_else(|| Trouble::Skip("there is no udmabuf".to_owned()))?;
    let heap = Promises(Offer { heap: "promises".to_owned(), contiguous: true, ..honest });
    // Even sizes, as the device needs them, and more than a page of it.
    let buffer = cx.share(FOURCC, px(256, 128), Heaps::new([Arc::new(heap) as Arc<dyn Heap>]), &[guest])?;
    let refused = cx.mapped(&guest, &buffer, Access::Read, |_, shared| Ok(video.seen_of(shared).is_err()))?;
    let found: Vec<String> = cx.provoked().into_iter().map(|finding| finding.summary).collect();
    let named = matches!(&found[..], [one] if one.contains("got memory that breaks its constraints")
        && one.contains("needs one run of addresses"));
    cx.claim("one finding, about contiguity", named, || {
        Finding::new("scattered memory for a device that needs one run of addresses is not found out")
            .row("found", format!("{found:?}"))
    });
    // The kernel sees it so, too.
    cx.claim("the kernel's refusal", refused, || Finding::new("the device took memory that is scattered to it"));
    cx.agree()
}

/// A dma-buf that is smaller than the frame it is said to hold is refused when it is shared, whatever the format.
fn too_small_is_refused(cx: &mut Cx) -> Outcome {
    let nv12 = vec![Plane { offset: 0, pitch: 640 }, Plane { offset: 640 * 480, pitch: 640 }];
    let frames = [
        (Frame::linear(FOURCC, SIZE, Plane { offset: 0, pitch: 1000 }), "130000"),
        (Frame::linear(FOURCC, SIZE, Plane { offset: 1 << 40, pitch: 1024 }), "1099511760872"),
        (
            Frame { size: px(640, 480), fourcc: Fourcc::new(b"NV12"), modifier: Modifier::LINEAR, planes: nv12 },
            "460800",
        ),
        (Frame::linear(FOURCC, SIZE, Plane { offset: 0, pitch: u64::MAX / 2 }), "64 bits"),
        (Frame::linear(FOURCC, SIZE, Plane { offset: 0, pitch: 999 }), "shorter than a row of 1000 B"),
    ];
    for (frame, named) in frames {
        let (dmabuf, _pages) = udmabuf::create(page_size())?;
        let told = dmabuf.size;
        let said = match cx.publish_memory("a liar", SharedFrame { dmabuf, frame: frame.clone() }) {
            Ok(_) => "nothing".to_owned(),
            Err(Trouble::Skip(why)) => format!("a skip: {why}"),
            Err(Trouble::Fail(finding)) => finding.to_string(),
        };
        cx.claim(format!("refusal of {frame}"), said.contains(named) && !said.starts_with("a skip"), || {
            Finding::new(format!("a udmabuf of {} B, of which lseek tells {told} B, is shared as {frame}", page_size()))
                .row("said", said)
        });
    }
    cx.agree()
}

/// S3: a heap that gives more than a device takes is not taken, though its offer would do; the next one is.
fn too_much_is_passed_over(cx: &mut Cx) -> Outcome {
    let (gbm, system) = (heap(cx, Of(Kind::Gbm))?, heap(cx, SYSTEM)?);
    let small = Wish { fourccs: vec![FOURCC], size: px(16, 16) };
    let any = easy("a device that takes one page at most");
    let constraints = Constraints { size: Bytes { max: page_size(), ..Bytes::ANY }, ..any.constraints };
    let party = Party { constraints, ..any };
    let size_of = |heaps: Heaps| {
        let buffer = Buffer::export(small.clone(), heaps);
        let attachment = buffer.attach(party.clone())?;
        let mapping = attachment.map(Access::Read)?;
        Ok::<_, ShareError>((mapping.shared().dmabuf.size, mapping.storage().heap.clone()))
    };
    match size_of(gbm.clone()) {
        Err(error) => cx.claim("refusal", error.to_string().contains("takes"), || {
            Finding::new("memory that is too large is refused in other words").row("said", error.to_string())
        }),
        // A driver that gives a page for a page shows nothing of this.
        Ok((size, _)) => cx.equals("bytes of the buffer", page_size(), size),
    }
    let (size, heap) = size_of(gbm.and(&system))?;
    cx.equals("bytes of the buffer that is taken", page_size(), size);
    cx.fact("taken from", heap);
    cx.agree()
}

/// S6: planes keep their bytes when a device with another pitch makes the frame move.
fn planar_contents_survive(cx: &mut Cx) -> Outcome {
    let heaps = heap(cx, UDMABUF)?;
    let fourcc = Fourcc::new(b"NV12");
    let buffer = Buffer::export(Wish { fourccs: vec![fourcc], size: px(64, 32) }, heaps);
    let cpu = Party { name: "cpu".to_owned(), constraints: Constraints::cpu(&[fourcc]) };
    let first = buffer.attach(cpu.clone())?;
    let noise: Vec<u8> = noise_words(9, 64 * 48 / 4).iter().flat_map(|word| word.to_le_bytes()).collect();
    // Row after row of the first plane, and then of the second.
    let rows = |frame: &Frame| {
        let rows = frame.rows()?;
        Ok::<_, Error>(rows.into_iter().flat_map(|at| (0..at.count).map(move |y| (at.offset + y * at.pitch, at.row))))
    };
    {
        let mapping = first.map(Access::Write)?;
        let shared = mapping.shared();
        let mut bytes = shared.dmabuf.map()?;
        for ((at, row), piece) in rows(&shared.frame)?.zip(noise.chunks(64)) {
            bytes.write(at, &piece[..row as usize])?;
        }
    }
    let wide = Constraints { pitch: Bytes { min: 256, ..Bytes::ANY }, ..cpu.constraints.clone() };
    let second = buffer.attach(Party { name: "a device with a long pitch".to_owned(), constraints: wide })?;
    let mapping = second.map(Access::Read)?;
    let shared = mapping.shared();
    let bytes = shared.dmabuf.map()?;
    let mut found = Vec::new();
    for (at, row) in rows(&shared.frame)? {
        found.extend(bytes.read(at..at + row)?);
    }
    cx.equals("storage", 2, mapping.generation());
    cx.equals("pitch of the chroma in bytes", 256, shared.frame.planes[1].pitch);
    cx.sees_bytes("cpu", &noise, &found)?;
    cx.agree()
}

/// S6: contents move, and are not converted: a device that takes another format of the wish comes too late.
fn format_stays(cx: &mut Cx) -> Outcome {
    let both = [Fourcc::XR24, Fourcc::AR24];
    let buffer = Buffer::export(Wish { fourccs: both.to_vec(), size: SIZE }, heap(cx, UDMABUF)?);
    let party =
        |name: &str, fourccs: &[Fourcc]| Party { name: name.to_owned(), constraints: Constraints::cpu(fourccs) };
    let _first = buffer.attach(party("a device that takes both", &both))?;
    buffer.allocate()?;
    let said = match buffer.attach(party("a device that takes the second", &both[1..])) {
        Ok(_) => "nothing".to_owned(),
        Err(refused) => refused.to_string(),
    };
    cx.claim("the refusal", said.contains("format and modifier"), || {
        Finding::new("a device that takes another format of the wish is not refused for that")
            .row("said", said.clone())
            .row("like", "a move that makes another format of the contents")
    });
    cx.equals("storages", 1, buffer.generation());
    cx.agree()
}
