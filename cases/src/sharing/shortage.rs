//! What sharing does when the kernel has no memory: each allocation of a step fails in turn, and the step says so, changes
//! nothing, leaves nothing behind, and can be done afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handover::channel::Channel;
use handover::faults::{Faults, Thread};
use handover::prelude::*;
use handover::share::heap::{Heap, Heaps};
use handover::share::refused::ShareError;
use handover::share::remote::RemoteBuffer;
use handover::share::serve::{Limits, Service};

use super::{Contiguous, FOURCC, Memory, Of, SYSTEM, UDMABUF, Wish, all_heaps, easy, heaps, name_of, only};
use crate::drivers::LAVAPIPE_25_0;

/// Two pages: enough for a list of them, and few enough that nothing has to grow for them in this process.
const SMALL: Size = px(64, 32);

/// More allocations than any step makes.
const MOST: u32 = 3000;

/// How often each has to fail: the first time, a cache may have had to be filled before it, which counts, and without which the
/// next one would be passed over.
const TIMES: u32 = 2;

/// Within this time everything is gone that the kernel frees by and by.
const SETTLED: Duration = Duration::from_secs(2);

/// The heaps that have no driver in this process; those of GPUs are walked one by one.
const MEMORIES: [Memory; 6] = [UDMABUF, SYSTEM, Of(Kind::Dumb), Of(Kind::Gbm), Of(Kind::Expbuf), Contiguous];

/// What is said, by whom, where it is not `ENOMEM`.
const OTHER_WORDS: &[(&str, &str)] = &[
    // The kernel's source calls this the closest word; send(2) and pthread_create(3) document theirs.
    ("socketpair", "ENFILE"),
    ("sendmsg", "ENOBUFS"),
    ("starting a thread", "EAGAIN"),
    // Whoever serves us may lack the memory for its last words.
    ("asking", "closed the connection"),
    // What Vulkan has for `ENOMEM`, and no more is said.
    ("vkAllocateMemory", "VK_ERROR_OUT_OF_DEVICE_MEMORY"),
    ("vkAllocateMemory", "VK_ERROR_OUT_OF_HOST_MEMORY"),
    // libgbm documents no errno.
    ("gbm_bo_create", ""),
    // Findings; they have cases of their own.
    ("memfd_create", "ENOSPC"),
    ("DRM_IOCTL_MODE_CREATE_DUMB", "ENOSPC"),
    ("VIDIOC_EXPBUF", "EINVAL"),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    let mut add = |name: String, body: fn(&mut Cx) -> Outcome| {
        cases.add(format!("sharing::survives_a_lack_of_memory::{name}"), body).needs(Need::FailingAllocations);
    };
    add("mapping_for_the_cpu".to_owned(), maps);
    add("moving".to_owned(), moves);
    add("taking_part_as_a_peer".to_owned(), takes_part);
    add("serving_a_peer".to_owned(), serves);
    for memory in MEMORIES {
        let case = cases.add(format!("sharing::survives_a_lack_of_memory::allocating_from::{memory}"), move |cx| {
            allocates(cx, memory, OTHER_WORDS)
        });
        case.needs(Need::FailingAllocations);
        if memory == UDMABUF {
            case.must_fail_under("udmabuf-kept");
        }
        if memory == Contiguous {
            known(case, "cases/findings/expbuf-warning.md", "vb2_dc_get_dmabuf");
        }
    }
    for gpu in [GpuA, GpuB] {
        let name = format!("sharing::survives_a_lack_of_memory::allocating_from::{gpu}");
        let case = cases.add(name, move |cx| allocates_of_gpu(cx, gpu)).from(gpu).needs(Need::FailingAllocations);
        // What the case counts, and what the ledger finds open when it is over.
        let finding = "cases/findings/lavapipe-out-of-files.md";
        case.known(LAVAPIPE_25_0, finding, "open files after allocation");
        case.known(LAVAPIPE_25_0, finding, "still open after the case");
    }
    for (memory, finding, call) in [
        (UDMABUF, "cases/findings/shmem-enospc.md", "memfd_create"),
        (Of(Kind::Dumb), "cases/findings/shmem-enospc.md", "DRM_IOCTL_MODE_CREATE_DUMB"),
        (Of(Kind::Expbuf), "cases/findings/expbuf-einval.md", "VIDIOC_EXPBUF"),
    ] {
        let name = format!("sharing::a_lack_of_memory_is_called_so::{memory}");
        let case = cases.add(name, move |cx| allocates(cx, memory, &[]));
        known(case.needs(Need::FailingAllocations), finding, call);
    }
}

/// Lists a defect of the kernel; the screen's driver has its version.
fn known(case: &mut Case<Cx>, finding: &str, matching: &str) {
    case.needs(Need::Device(Screen)).known("Linux", finding, matching);
}

fn small() -> Wish {
    Wish { fourccs: vec![FOURCC], size: SMALL }
}

/// Has each allocation that the kernel makes for `thread` during `step` fail in turn, [`TIMES`], until there are no more. After each,
/// `check` looks at what must be as before. Each failure names `ENOMEM`, or has `other_words` for it.
fn walk(
    cx: &mut Cx,
    what: &str,
    other_words: &[(&str, &str)],
    mut thread: impl FnMut() -> Result<Thread, Trouble>,
    mut step: impl FnMut() -> Result<(), ShareError>,
    mut check: impl FnMut(&mut Cx) -> Outcome,
) -> Outcome {
    let faults = Faults::open()?;
    // What is made once is there from now on.
    step()?;
    check(cx)?;
    let before = (cx.open_files()?, cx.dmabufs()?);
    let mut unclear: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let (mut failures, mut borne) = (0, 0);
    // Not always does it need as many: it was through once without the one that was to fail.
    let mut was_through = false;
    let (mut n, mut met) = (1, 0);
    while n < MOST {
        // So that this process needs no memory of its own meanwhile: what is freed here is kept by the allocator.
        drop(vec![0_u8; 96 << 10]);
        let (done, failed) = faults.nth(&thread()?, n, &mut step)?;
        check(cx)?;
        let deadline = Instant::now() + SETTLED;
        let after = loop {
            let after = (cx.open_files()?, cx.dmabufs()?);
            if after == before || Instant::now() >= deadline {
                break after;
            }
            // What is waited for is done by others on this processor.
            std::thread::sleep(Duration::from_millis(2));
        };
        cx.equals(format!("{what}: open files after allocation {n} failed"), before.0, after.0);
        cx.equals(format!("{what}: dma-bufs after allocation {n} failed"), before.1, after.1);
        match (done, failed) {
            (Ok(()), false) if was_through => break,
            (Ok(()), false) => was_through = true,
            (Ok(()), true) => borne += 1,
            (Err(error), false) => return Err(Finding::new(format!("{what} fails without a fault: {error}")).into()),
            (Err(error), true) => {
                failures += 1;
                let text = error.to_string();
                let known = |(call, errno): &(&str, &str)| text.contains(call) && text.contains(errno);
                if !text.contains("ENOMEM") && !other_words.iter().any(known) {
                    unclear.entry(text).or_insert((n, 0)).1 += 1;
                }
            }
        }
        if after != before {
            break;
        }
        if failed {
            (met, was_through) = (met + 1, false);
        }
        if met == TIMES {
            (n, met) = (n + 1, 0);
        }
    }
    for (text, (first, times)) in unclear {
        cx.claim("errors", false, || {
            let called = format!("a lack of memory is not called so: {text}");
            Finding::new(called).row("when", format!("{times} times, first when allocation {first} failed"))
        });
    }
    cx.claim(format!("{what}: allocations that failed"), (1..MOST - 1).contains(&(failures + borne)), || {
        Finding::new(format!("{failures} failed allocations, and no end of them"))
    });
    cx.figure(&format!("failed ({what})"), f64::from(failures));
    cx.figure(&format!("borne ({what})"), f64::from(borne));
    Ok(())
}

fn allocates(cx: &mut Cx, memory: Memory, other_words: &[(&str, &str)]) -> Outcome {
    let mut heaps = all_heaps(cx, memory)?;
    if memory == Of(Kind::Gbm) {
        // Which takes long, and is the same library for every card.
        heaps.truncate(1);
    }
    for heap in heaps {
        allocates_from(cx, &heap, other_words)?;
    }
    cx.agree()
}

fn allocates_from(cx: &mut Cx, heap: &Arc<dyn Heap>, other_words: &[(&str, &str)]) -> Outcome {
    let name = heap.offer().heap.clone();
    let step = || {
        let buffer = Buffer::export(small(), Heaps::new([heap.clone()]));
        let attachment = buffer.attach(easy("a device"))?;
        attachment.map(Access::Write).map(drop)
    };
    walk(cx, &name, other_words, || Ok(Thread::current()), step, |_| Ok(()))
}

/// The memory of one GPU, whose driver is in this process and lacks memory, too.
fn allocates_of_gpu(cx: &mut Cx, gpu: Role) -> Outcome {
    let own = format!("{gpu} memory");
    let mut heaps = all_heaps(cx, Of(Kind::Vulkan))?;
    heaps.retain(|heap| heap.offer().heap == own);
    let [heap] = &heaps[..] else { return Err(Trouble::Skip(format!("{gpu} exports no memory as dma-buf"))) };
    allocates_from(cx, heap, OTHER_WORDS)?;
    cx.agree()
}

fn maps(cx: &mut Cx) -> Outcome {
    for memory in [UDMABUF, SYSTEM] {
        let buffer = Buffer::export(small(), super::heap(cx, memory)?);
        buffer.allocate()?;
        let step = || {
            let mmap = buffer.mmap("cpu mmap")?;
            mmap.access(Access::Write)?.write(0, &[1, 2, 3, 4])?;
            Ok(mmap.access(Access::Read)?.read_into(0, &mut [0; 4])?)
        };
        let what = memory.to_string();
        walk(cx, &what, OTHER_WORDS, || Ok(Thread::current()), step, |cx| nobody_takes_part(cx, &buffer))?;
    }
    cx.agree()
}

/// A move that fails halfway leaves everything where it was, also what the CPU has mapped.
fn moves(cx: &mut Cx) -> Outcome {
    let (home, away) = (super::heap(cx, UDMABUF)?, super::heap(cx, SYSTEM)?);
    let (home_name, away_name) = (name_of(&home), name_of(&away));
    let buffer = Buffer::export(small(), heaps(cx, UDMABUF, SYSTEM)?);
    let mmap = buffer.mmap("cpu mmap")?;
    let contents: Vec<u8> = (0..mmap.length()).map(|n| (n / 251 + n) as u8).collect();
    mmap.access(Access::Write)?.write(0, &contents)?;
    walk(
        cx,
        "moving",
        OTHER_WORDS,
        || Ok(Thread::current()),
        || buffer.attach(only(&away_name)).map(drop),
        |cx| {
            let mut seen = vec![0; contents.len()];
            mmap.peek(0, &mut seen)?;
            cx.sees_bytes("cpu mmap", &contents, &seen)?;
            cx.equals("parties", 1, buffer.parties().len());
            cx.equals("mappings", 0, buffer.mappings());
            // Where it has moved after all it moves back.
            drop(buffer.attach(only(&home_name))?);
            mmap.access(Access::Write)?.write(0, &contents[..4])?;
            Ok(())
        },
    )?;
    cx.agree()
}

/// A step that has ended, well or not, has left.
fn nobody_takes_part(cx: &mut Cx, buffer: &Buffer) -> Outcome {
    cx.equals("parties", 0, buffer.parties().len());
    cx.equals("mappings", 0, buffer.mappings());
    Ok(())
}

fn look_as_a_peer(remote: &RemoteBuffer) -> Result<(), ShareError> {
    let attachment = remote.attach(&easy("a peer"))?;
    let mapping = remote.map(attachment, Access::Read, Duration::from_secs(1))?;
    mapping.shared.dmabuf.map()?.read_into(0, &mut [0; 4])?;
    remote.unmap(mapping.number)?;
    Ok(remote.detach(attachment)?)
}

/// A peer that has no memory is told so, and what it held is released when it goes.
fn takes_part(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(small(), super::heap(cx, UDMABUF)?);
    buffer.allocate()?;
    let step = || {
        let (service, socket) = Service::start(&buffer, "a peer", Limits::default())?;
        let remote = RemoteBuffer::on(Channel::on(socket, "the owner"));
        let looked = look_as_a_peer(&remote);
        drop((remote, service));
        looked
    };
    walk(cx, "a peer", OTHER_WORDS, || Ok(Thread::current()), step, |cx| nobody_takes_part(cx, &buffer))?;
    cx.agree()
}

/// Who serves a peer and has no memory harms that peer at most.
fn serves(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(small(), super::heap(cx, UDMABUF)?);
    buffer.allocate()?;
    let started = std::cell::Cell::new(0);
    let start = || -> Result<(Service, RemoteBuffer), Trouble> {
        // A name of its own, since the thread of the one before may not be quite gone.
        started.set(started.get() + 1);
        let (service, socket) = Service::start(&buffer, &started.get().to_string(), Limits::default())?;
        let remote = RemoteBuffer::on(Channel::on(socket, "the owner"));
        // Once it has answered, its thread has its name.
        look_as_a_peer(&remote)?;
        Ok((service, remote))
    };
    let served = std::cell::RefCell::new(Some(start()?));
    let thread = || {
        let mut served = served.borrow_mut();
        if served.is_none() {
            *served = Some(start()?);
        }
        Ok(Thread::named(&format!("serves {}", started.get()))?)
    };
    let step = || match &*served.borrow() {
        Some((_, remote)) => look_as_a_peer(remote),
        None => Ok(()),
    };
    walk(cx, "a service", OTHER_WORDS, thread, step, |cx| {
        drop(served.borrow_mut().take());
        nobody_takes_part(cx, &buffer)
    })?;
    cx.agree()
}
