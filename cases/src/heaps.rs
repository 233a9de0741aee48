//! What provides backing storage keeps its word: the bytes that were asked for, the same for everybody who looks, and nothing
//! left behind.

use handover::prelude::*;

/// Kinds of heaps; a case looks at every heap of its kind.
const KINDS: &[Kind] = &Kind::ALL;

/// One byte, a page, a page and a byte, and a frame whose rows end within pages, twice: no two buffers share their memory.
const SIZES: &[u64] = &[1, 4096, 4097, 1088 * 130, 1088 * 130];

/// Kinds of which the kernel promises that fresh memory holds zeros, since it may come from anybody: memory files, the system
/// heap, and dumb buffers (`drivers/dma-buf/heaps/system_heap.c`, `__GFP_ZERO`; "Dumb Buffer Objects" in its DRM documentation).
const CLEARED: &[Kind] = &[Kind::Udmabuf, Kind::DmaHeap, Kind::Dumb];

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for &kind in KINDS {
        let name = format!("heaps::gives_what_was_asked_for::{kind}");
        let case = cases.add(name, move |cx| gives_what_was_asked_for(cx, kind));
        if kind == Kind::DmaHeap {
            case.must_fail_under("heap-short").must_fail_under("heap-memory-twice");
        }
        let case = cases.add(format!("heaps::refuses_what_it_does_not_offer::{kind}"), move |cx| refuses(cx, kind));
        if kind == Kind::Udmabuf {
            case.must_fail_under("heap-without-limits");
        }
        let case =
            cases.add(format!("heaps::leaves_nothing_behind::{kind}"), move |cx| leaves_nothing_behind(cx, kind));
        if kind == Kind::Udmabuf {
            case.must_fail_under("udmabuf-kept");
        }
    }
    for &kind in CLEARED {
        let case = cases.add(format!("heaps::gives_cleared_memory::{kind}"), move |cx| gives_cleared_memory(cx, kind));
        if kind == Kind::DmaHeap {
            case.must_fail_under("heap-not-cleared");
        }
    }
    cases
        .add("heaps::shows_the_pages_of_its_memfd::udmabuf", shows_the_pages_of_its_memfd)
        .must_fail_under("udmabuf-copies")
        .must_fail_under("udmabuf-pages-swapped");
}

/// `bytes` bytes, with a frame of one row in them.
fn agreement(heap: &dyn Heap, bytes: u64) -> Agreement {
    let plane = Plane { offset: 0, pitch: bytes };
    let size = px(u32::try_from(bytes).unwrap_or(u32::MAX), 1);
    Agreement { heap: heap.offer().heap.clone(), frame: Frame::linear(Fourcc::R8, size, plane), bytes }
}

/// No byte is the one beside it, nor that of another `seed`.
fn bytes_of(seed: u8, length: u64) -> Vec<u8> {
    (0..length).map(|n| (n as u8).wrapping_mul(167).wrapping_add((n >> 8) as u8).wrapping_add(seed)).collect()
}

/// Storage has the size, is a dma-buf of its own, and everybody who maps it sees the same bytes.
fn gives_what_was_asked_for(cx: &mut Cx, kind: Kind) -> Outcome {
    for heap in cx.heaps(kind)? {
        let name = heap.offer().heap.clone();
        let mut held = Vec::new();
        for (n, &bytes) in SIZES.iter().enumerate() {
            let storage = heap.allocate(&agreement(&*heap, bytes))?;
            let dmabuf = &storage.shared.dmabuf;
            let identity = dmabuf.identity()?;
            cx.claim(format!("{name}: size of {bytes} B"), dmabuf.size >= bytes, || {
                Finding::new(format!("{name} gave {} B for {bytes} B", dmabuf.size))
            });
            if heap.offer().cpu {
                dmabuf.map()?.write(0, &bytes_of(n as u8, bytes))?;
            }
            held.push((identity, storage));
        }
        // Read when all are there: two that share pages would have overwritten each other.
        for (n, (identity, storage)) in held.iter().enumerate() {
            let bytes = SIZES[n];
            let others = held.iter().filter(|(other, _)| other.inode == identity.inode).count();
            cx.claim(format!("{name}: buffers with inode {}", identity.inode), others == 1, || {
                Finding::new(format!("{name} gave one buffer for {others} allocations: dma-buf {}", identity.inode))
                    .row("like", "memory that is handed out again while its owner has it")
            });
            if heap.offer().cpu {
                let seen = storage.shared.dmabuf.map()?.read(0..bytes)?;
                cx.sees_bytes(format!("{name}: another mapping of {bytes} B"), &bytes_of(n as u8, bytes), &seen)?;
            }
        }
    }
    cx.agree()
}

/// Nothing, more than is offered, and more than anything has are refused, with the number in the text.
fn refuses(cx: &mut Cx, kind: Kind) -> Outcome {
    for heap in cx.heaps(kind)? {
        let offer = heap.offer().clone();
        let before = cx.files();
        for bytes in [0, offer.largest + 1, u64::MAX] {
            let said = match heap.allocate(&agreement(&*heap, bytes)) {
                Ok(storage) => format!("gave {storage}"),
                Err(error) => error.to_string(),
            };
            let clear = said.contains(&format!("{bytes} B")) && said.contains("would be valid");
            cx.claim(format!("{}: {bytes} B", offer.heap), clear, || {
                Finding::new(format!("{} does not refuse {bytes} B as what it does not offer", offer.heap))
                    .row("offered", format!("1 to {} B", offer.largest))
                    .row("said", said)
                    .row("like", "a size that nobody holds against what there is")
            });
        }
        cx.no_file_stays(3, format_args!("refusals of {}", offer.heap), &before);
    }
    cx.agree()
}

/// When storage is dropped, the kernel has freed its dma-buf, and no file is left open.
fn leaves_nothing_behind(cx: &mut Cx, kind: Kind) -> Outcome {
    for heap in cx.heaps(kind)? {
        let name = heap.offer().heap.clone();
        let before = cx.files();
        let storage = heap.allocate(&agreement(&*heap, 65536))?;
        let identity = storage.shared.dmabuf.identity()?;
        cx.claim(format!("{name}: listed while it lives"), cx.is_listed(&identity)?, || {
            Finding::new(format!("the kernel does not list {}", storage.shared.dmabuf))
        });
        drop(storage);
        cx.claim(format!("{name}: not listed afterwards"), !cx.is_listed(&identity)?, || {
            Finding::new(format!("{name} leaks: the kernel still lists its dma-buf {}", identity.inode))
                .row("like", "a reference that stays with who made it, though every fd and mapping is closed")
        });
        cx.no_file_stays(1, format_args!("allocation from {name}"), &before);
    }
    cx.agree()
}

/// What somebody wrote and gave back is not seen by whoever gets memory next.
fn gives_cleared_memory(cx: &mut Cx, kind: Kind) -> Outcome {
    const BYTES: u64 = 64 << 10;
    for heap in cx.heaps(kind)?.into_iter().filter(|heap| heap.offer().cpu) {
        let name = heap.offer().heap.clone();
        for n in 0..4 {
            let storage = heap.allocate(&agreement(&*heap, BYTES))?;
            let mut mapping = storage.shared.dmabuf.map()?;
            let seen = mapping.read(0..BYTES)?;
            let left = seen.iter().filter(|byte| **byte != 0).count();
            let first = seen.iter().position(|byte| *byte != 0).unwrap_or_default();
            cx.claim(format!("{name}: fresh memory"), left == 0, || {
                Finding::new(format!("{name} gives memory that is not cleared: {left} of {BYTES} B hold something"))
                    .row("first", format!("byte {first}    target 0x00    actual {:#04x}", seen[first]))
                    .row("like", "contents of whoever had the memory before, which another process can read")
                    .row("buffer", format!("{}, number {} of 4", storage.shared.dmabuf, n + 1))
            });
            if cx.disagrees() {
                break;
            }
            mapping.write(0, &bytes_of(n + 1, BYTES))?;
        }
    }
    cx.agree()
}

/// Bytes of a page.
const PAGE: usize = 4096;

/// Claims that the pages of a memfd are where its udmabuf has them, and says where else they are.
fn in_order(cx: &mut Cx, target: &[u8], pages: &[u8]) {
    let found: Vec<Option<usize>> =
        pages.chunks(PAGE).map(|page| target.chunks(PAGE).position(|written| written == page)).collect();
    let is_in_order = found.iter().enumerate().all(|(at, page)| *page == Some(at));
    cx.claim("order of pages", is_in_order, || {
        let told = |(at, page): (usize, &Option<usize>)| match page {
            Some(page) => format!("page {at} of the memfd is page {page} of the udmabuf"),
            None => format!("page {at} of the memfd is none of the udmabuf's"),
        };
        let finding = Finding::new(match found.iter().all(Option::is_some) {
            true => "the pages of the udmabuf are those of its memfd in another order",
            false => "what is written to the udmabuf is not in its memfd",
        });
        let like = match found.iter().all(Option::is_none) {
            true => "pages of its own, a copy: the memfd shows what was there before",
            false => "a list of pages that is not built in the order of the file",
        };
        finding.row("pages", found.iter().enumerate().map(told).collect::<Vec<_>>().join("\n")).row("like", like)
    });
}

/// What is written through the dma-buf is what the memfd has, and the other way round.
fn shows_the_pages_of_its_memfd(cx: &mut Cx) -> Outcome {
    for heap in cx.heaps(Kind::Udmabuf)? {
        let bytes = 3 * PAGE as u64;
        let storage = heap.allocate(&agreement(&*heap, bytes))?;
        storage.shared.dmabuf.map()?.write(0, &bytes_of(1, bytes))?;
        let (target, pages) = (bytes_of(1, bytes), storage.read_pages(0..bytes)?);
        in_order(cx, &target, &pages);
        cx.sees_bytes("memfd", &target, &pages)?;
        storage.write_pages(0, &bytes_of(2, bytes))?;
        cx.sees_bytes("dma-buf", &bytes_of(2, bytes), &storage.shared.dmabuf.map()?.read(0..bytes)?)?;
    }
    cx.agree()
}
