//! A buffer outlives exporter, importer, fd, mapping, process and device, in every order in which they can go.
//!
//! Whoever still has it looks at it after each of them went, and sees what was drawn; when the last one is gone the
//! kernel has freed it.

use std::any::Any;

use handover::dmabuf::{Dmabuf, Identity, Window};
use handover::error::Cause;
use handover::gbm::{Bo, How, Usage};
use handover::gles::{GlImage, Through};
use handover::kms::{BareFramebuffer, Imported};
use handover::prelude::*;
use handover::vk::{Image, Span};

use super::{PITCH, SIZE};

/// Who makes the buffer. Of GPUs and GBM the buffer object is a holder of its own.
const EXPORTERS: [Role; 8] = [GpuA, GpuB, Gbm, Udmabuf, DmaHeap, Screen, Vgem, Video];

/// Who takes it in. The screen's card has a framebuffer of it, and nothing else.
const IMPORTERS: [Role; 6] = [GpuA, GpuB, Gles, Gbm, Vgem, Screen];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for from in EXPORTERS {
        for to in IMPORTERS.into_iter().filter(|to| *to != from) {
            let name = format!("ownership::a_buffer_lives_until_the_last_lets_go::{from}_to_{to}");
            let case = cases.add(name, move |cx| in_every_order(cx, from, to)).from(from).to(to);
            if from == Udmabuf {
                case.must_fail_under("close-clears-mapped");
            }
            if (from, to) == (GpuA, GpuB) {
                case.must_fail_under("free-clears-shared");
            }
            if to == Screen {
                case.must_fail_under("framebuffer-kept");
            }
        }
    }
    for gpu in [GpuA, GpuB] {
        // What it takes at its peak shows early.
        let opened = || format!("one more device of {gpu}, which is closed again");
        let case = cases.add(format!("ownership::a_buffer_outlives_the_device_that_made_it::{gpu}"), move |cx| {
            outlives_device(cx, gpu, true)
        });
        case.from(gpu).must_fail_under("free-clears-shared");
        case.info.opens.push(opened());
        let case = cases.add(format!("ownership::a_buffer_outlives_the_device_that_took_it_in::{gpu}"), move |cx| {
            outlives_device(cx, gpu, false)
        });
        case.from(Udmabuf).to(gpu).must_fail_under("free-clears-shared");
        case.info.opens.push(opened());
        cases
            .add(format!("ownership::a_buffer_outlives_the_process_that_made_it::{gpu}"), move |cx| {
                outlives_process(cx, gpu)
            })
            .from(gpu)
            .must_fail_under("free-clears-shared");
    }
}

/// Somebody who has the buffer.
enum Holder {
    /// A GPU's image, made or taken in.
    Vulkan(Box<Image>),
    /// OpenGL ES's texture.
    Texture(Box<GlImage>),
    /// A bo, made or taken in.
    Bo(Box<Bo>),
    /// A card's handle.
    Handle(Imported),
    /// A card's framebuffer.
    Framebuffer(BareFramebuffer),
    /// The fd.
    Fd(Dmabuf),
    /// The addresses of a mapping. The fd that it was made with is closed.
    Mapped(Window),
    /// Who has the memory and can't look: a queue, pages.
    Memory(#[expect(dead_code, reason = "it is held, and never looked at")] Box<dyn Any>),
}

impl Holder {
    fn name(&self) -> &'static str {
        match self {
            Self::Vulkan(_) => "image",
            Self::Texture(_) => "texture",
            Self::Bo(_) => "bo",
            Self::Handle(_) => "handle",
            Self::Framebuffer(_) => "framebuffer",
            Self::Fd(_) => "fd",
            Self::Mapped(_) => "mapping",
            Self::Memory(_) => "memory",
        }
    }

    /// What it sees; `None` if it can't look.
    fn sees(&self, frame: &Frame) -> Result<Option<Picture>> {
        let end = frame.end()?;
        let of = |dmabuf: &Dmabuf| Picture::of_frame(frame, &dmabuf.map()?.read(0..end)?);
        Ok(Some(match self {
            Self::Vulkan(image) => image.read_back()?,
            Self::Texture(image) => image.sampled_picture()?,
            Self::Bo(bo) => bo.read()?,
            Self::Handle(handle) => of(&handle.export()?)?,
            Self::Framebuffer(framebuffer) => of(&framebuffer.export()?)?,
            Self::Fd(dmabuf) => of(dmabuf)?,
            // Without the kernel's knowledge, which takes an fd.
            Self::Mapped(window) => {
                let mut bytes = vec![0; end as usize];
                window.peek(0, &mut bytes)?;
                Picture::of_frame(frame, &bytes)?
            }
            Self::Memory(_) => return Ok(None),
        }))
    }
}

/// The buffer, with who made it if that is somebody.
fn made(cx: &mut Cx, from: Role) -> Result<(SharedFrame, Option<Holder>), Trouble> {
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch: PITCH });
    Ok(match from {
        GpuA | GpuB => {
            let image = cx.gpu(from)?.create_image(&ImageRequest {
                size: SIZE,
                fourcc: Fourcc::XR24,
                layout: Layout::Explicit(Modifier::LINEAR, frame.planes),
                room: Room::SubAllocated { before: 0, after: 65536 },
                export: vec![HandleType::DmaBuf],
            })?;
            image.hand_over()?;
            (image.export_dmabuf()?, Some(Holder::Vulkan(Box::new(image))))
        }
        Gbm => {
            let bo = cx.gbm()?.gives.create(Fourcc::XR24, SIZE, &How::Plain(Usage::LINEAR))?;
            (bo.export()?, Some(Holder::Bo(Box::new(bo))))
        }
        Screen => (SharedFrame { dmabuf: cx.screen()?.dumb_of_bytes(65536)?, frame }, None),
        Vgem => {
            let heaps = cx.heaps(Kind::Dumb)?;
            let heap = heaps.iter().find(|heap| heap.offer().heap.starts_with("vgem"));
            let heap = heap.ok_or_else(|| Trouble::Skip("this machine has no dumb buffers of vgem".to_owned()))?;
            let agreement = Agreement { heap: heap.offer().heap.clone(), frame, bytes: 65536 };
            (heap.allocate(&agreement)?.shared, None)
        }
        heap => {
            let heap = cx.heap(heap)?;
            let agreement = Agreement { heap: heap.offer().heap.clone(), frame, bytes: 65536 };
            let Storage { shared, pages, keep, .. } = heap.allocate(&agreement)?;
            let memory: Box<dyn Any> = Box::new((pages, keep));
            (shared, Some(Holder::Memory(memory)))
        }
    })
}

fn taken(cx: &mut Cx, to: Role, shared: &SharedFrame) -> Result<Holder, Trouble> {
    Ok(match to {
        GpuA | GpuB => Holder::Vulkan(Box::new(cx.gpu(to)?.import_image(shared, &ImportRequest::default())?)),
        Gles => Holder::Texture(Box::new(cx.gles()?.import(shared, Through::Texture2d)?)),
        // What its render node does not let go of is the business of `ownership::gbm_lets_go_of_what_it_took_in`.
        Gbm => Holder::Bo(Box::new(cx.gbm()?.gives.import(shared, Usage::default())?)),
        Screen => match cx.prime(Screen)?.framebuffer(shared) {
            Ok(framebuffer) => Holder::Framebuffer(framebuffer),
            Err(refusal) => {
                cx.skips_foreign(shared)?;
                return Err(refusal.into());
            }
        },
        card => Holder::Handle(cx.prime(card)?.import(&shared.dmabuf)?),
    })
}

/// Every order of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = orders(last);
    let inserted = |order: &Vec<usize>| {
        let order = order.clone();
        (0..=last).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    shorter.iter().flat_map(inserted).collect()
}

fn in_every_order(cx: &mut Cx, from: Role, to: Role) -> Outcome {
    let picture = Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?;
    let mut looks = 0_u32;
    let count = holders(cx, from, to)?.1.len();
    for order in orders(count) {
        let (frame, holders, identity) = holders(cx, from, to)?;
        let mut holders: Vec<Option<Holder>> = holders.into_iter().map(Some).collect();
        let mut gone = Vec::new();
        for at in order {
            gone.push(holders[at].as_ref().map_or("", Holder::name));
            drop(holders[at].take());
            let left: Vec<&Holder> = holders.iter().flatten().collect();
            if let [Holder::Mapped(_)] = left.as_slice() {
                alone(cx, from, to, &identity, &gone)?;
            }
            for holder in holders.iter().flatten() {
                let seen = holder.sees(&frame).map_err(|error| match (holder, &error.cause) {
                    // Only root and the card's master get a handle of a framebuffer.
                    (Holder::Framebuffer(_), Cause::Missing(_)) => Trouble::Skip(error.to_string()),
                    _ => error.into(),
                });
                let Some(seen) = seen? else { continue };
                looks += 1;
                let target = Target::from(picture.clone());
                if !cx.disagrees() {
                    cx.sees(format!("the {}, after others went,", holder.name()), &target, &seen)?;
                    if cx.disagrees() {
                        cx.fact("gone", gone.join(", then "));
                    }
                }
            }
        }
        look_away(cx, from, to)?;
        let is_gone = cx.is_gone(&identity)?;
        cx.claim("freed", is_gone, || {
            Finding::new("the buffer is still there when the last who had it has let go").row("order", gone.join(", "))
        });
        if cx.disagrees() {
            break;
        }
    }
    cx.figure("looks", looks.into());
    cx.claim("looks", looks > 0, || Finding::new("nobody looked"));
    cx.agree()
}

/// Libraries keep a buffer for a moment.
fn look_away(cx: &mut Cx, from: Role, to: Role) -> Outcome {
    if [from, to].iter().any(|role| [Gles, Gbm].contains(role)) { cx.drivers_look_away() } else { Ok(()) }
}

/// Only addresses are left of the buffer: no fd of it is open.
fn alone(cx: &mut Cx, from: Role, to: Role, buffer: &Identity, gone: &[&str]) -> Outcome {
    look_away(cx, from, to)?;
    let open = cx.fds_of(buffer.inode)?;
    cx.claim("no fd beside the mapping", open == 0, || {
        Finding::new(format!("{open} fds of the buffer are open when only a mapping should be left"))
            .row("gone", gone.join(", then "))
            .row("like", "an fd that whoever made it or took it in kept")
    });
    Ok(())
}

/// A drawn buffer with everybody who has it.
fn holders(cx: &mut Cx, from: Role, to: Role) -> Result<(Frame, Vec<Holder>, Identity), Trouble> {
    let (shared, maker) = made(cx, from)?;
    let importer = taken(cx, to, &shared)?;
    let window = shared.dmabuf.map()?.window();
    shared.write(&Pattern { stamp: 7 }.picture(Fourcc::XR24, SIZE)?)?;
    let identity = shared.dmabuf.identity()?;
    let SharedFrame { dmabuf, frame } = shared;
    let mut holders = vec![Holder::Mapped(window), importer, Holder::Fd(dmabuf)];
    holders.extend(maker);
    Ok((frame, holders, identity))
}

/// `vkDestroyDevice` and `vkDestroyInstance` end what the device had of the buffer, and nothing else of it.
fn outlives_device(cx: &mut Cx, gpu: Role, makes: bool) -> Outcome {
    const WORDS: u32 = 4096;
    let other = cx.gpu(if gpu == GpuA { GpuB } else { GpuA })?;
    let fresh = cx.fresh_gpu(gpu)?;
    let span = Span { offset: 0, size: u64::from(WORDS) * 4 };
    let dmabuf = if makes {
        let export = vec![HandleType::DmaBuf];
        let buffer = fresh.create_buffer(&BufferRequest { size: span.size, room: Room::Dedicated, export })?;
        buffer.fill(7)?;
        buffer.export_dmabuf()?
    } else {
        let (dmabuf, _) = handover::udmabuf::create(65536)?;
        fresh.import_buffer(&dmabuf, span, false)?.fill(7)?;
        dmabuf
    };
    let mapping = dmabuf.map()?;
    drop(fresh);
    let words = noise_words(7, WORDS);
    let target: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    cx.sees_bytes("cpu, by its mapping,", &target, &mapping.read(0..span.size)?)?;
    cx.cpu_sees_words(&dmabuf, span, &words)?;
    cx.sees_words("the other gpu", &words, &other.import_buffer(&dmabuf, span, false)?.read_back()?)?;
    let identity = dmabuf.identity()?;
    drop((dmabuf, mapping));
    let gone = cx.is_gone(&identity)?;
    cx.claim("freed", gone, || Finding::new("the buffer is still there when everybody has let go"));
    cx.agree()
}

/// A process that made a buffer and is killed leaves it to those who have it.
fn outlives_process(cx: &mut Cx, gpu: Role) -> Outcome {
    let size = px(64, 64);
    let target = Target::from(Pattern { stamp: 7 }.picture(Fourcc::XR24, size)?);
    let shared = cx.peer(gpu)?.draw(Fourcc::XR24, size, 7)?;
    cx.sees("cpu, while the process lives,", &target, &shared.read_back()?)?;
    cx.peer(gpu)?.kill();
    cx.sees("cpu, when it is dead,", &target, &shared.read_back()?)?;
    let identity = shared.dmabuf.identity()?;
    drop(shared);
    let gone = cx.is_gone(&identity)?;
    cx.claim("freed", gone, || Finding::new("the buffer is still there when everybody has let go"));
    cx.agree()
}
