//! A buffer that other processes take part in: what they hold is released when they die, and what they lie harms nobody.

use std::time::Duration;

use handover::channel::Channel;
use handover::prelude::*;
use handover::share::buffer::Buffer;
use handover::share::message::{Answer, Request};
use handover::share::refused::ShareError;
use handover::share::remote::RemoteBuffer;
use handover::share::serve::{Left, Limits, Service};

use super::{FOURCC, SHORTLY, SIZE, SYSTEM, UDMABUF, easy, heaps, only, stamped, wish};

/// Within this time a peer is noticed to have gone.
const GONE: Duration = Duration::from_secs(5);

/// When a peer is killed.
#[derive(Clone, Copy)]
enum When {
    Attached,
    Mapped,
    Drawn,
}

/// How a peer lies.
#[derive(Clone, Copy)]
enum Lie {
    UnmapsTwice,
    MapsUnattached,
    UsesNumbersOfOthers,
    TalksGarbage,
    Floods,
    HoardsMappings,
    NeverReads,
}

const LIES: [(&str, Lie); 7] = [
    ("unmaps_twice", Lie::UnmapsTwice),
    ("maps_without_attaching", Lie::MapsUnattached),
    ("uses_numbers_of_others", Lie::UsesNumbersOfOthers),
    ("talks_garbage", Lie::TalksGarbage),
    ("floods", Lie::Floods),
    ("hoards_mappings", Lie::HoardsMappings),
    ("never_reads", Lie::NeverReads),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("sharing::a_peer_draws_into_shared_storage", peer_draws)
        .from(Cpu)
        .to(GpuA)
        .must_fail_under("import-copies")
        .must_fail_under("import-leaks-fd");
    cases
        .add("sharing::a_peer_sees_new_storage_after_a_move", peer_sees_new_storage)
        .must_fail_under("move-loses-contents");
    for (name, when) in [("attached", When::Attached), ("mapped", When::Mapped), ("has_drawn", When::Drawn)] {
        cases
            .add(format!("sharing::a_peer_that_is_killed_releases_what_it_held::when_it_{name}"), move |cx| {
                killed(cx, when)
            })
            .from(Cpu)
            .to(GpuA)
            .must_fail_under("orphans-kept");
    }
    for (name, lie) in LIES {
        let case = cases.add(format!("sharing::a_peer_that_lies_harms_only_itself::{name}"), move |cx| lies(cx, lie));
        if let Lie::UnmapsTwice = lie {
            case.must_fail_under("unmap-forgotten").must_fail_under("refusal-unsaid");
        }
    }
}

/// A process with a GPU of its own attaches by message, maps and draws; this process sees it.
fn peer_draws(cx: &mut Cx) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let heaps = heaps(cx, UDMABUF, SYSTEM)?;
    let buffer = cx.share(FOURCC, SIZE, heaps, &[Guest::Cpu])?;
    cx.cpu_writes(&buffer, &stamped(6)?)?;
    let (service, socket) = Service::start(&buffer, "a process with gpu_a", Limits::default())?;
    let party = cx.party_of(&Guest::Gpu(&gpu), &buffer)?;
    cx.peer(GpuA)?.take_part(socket, &party, Some(7))?;
    let target = Target { picture: stamped(7)?, before: Some(stamped(6)?) };
    cx.cpu_sees_of("the cpu, when a process with gpu_a has drawn,", &buffer, &target)?;
    cx.peer(GpuA)?.let_go()?;
    let left = service.ended(GONE)?;
    cx.equals("mappings that it left", 0, left.mappings);
    cx.agree()
}

/// Storage moves while a peer is attached: its next map brings the new dma-buf, with the contents.
fn peer_sees_new_storage(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let target = Target::from(stamped(3)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let (_service, socket) = Service::start(&buffer, "peer", Limits::default())?;
    let remote = RemoteBuffer::on(Channel::on(socket, "this process"));
    let attachment = remote.attach(&easy("peer"))?;
    let first = remote.map(attachment, Access::Read, GONE)?;
    remote.unmap(first.number)?;
    let _strict = buffer.attach(only("system"))?;
    let second = remote.map(attachment, Access::Read, GONE)?;
    let inode = |shared: &SharedFrame| shared.dmabuf.identity().map(|identity| identity.inode);
    cx.equals("the storage", 2, second.generation);
    cx.equals("the heap", "system".to_owned(), second.heap.clone());
    cx.claim("the dma-buf", inode(&first.shared)? != inode(&second.shared)?, || {
        Finding::new("after a move the peer got the old dma-buf")
    });
    cx.sees("peer", &target, &second.shared.read_back()?)?;
    cx.agree()
}

/// A process is killed, and what it held is free: the storage can move.
fn killed(cx: &mut Cx, when: When) -> Outcome {
    let gpu = cx.gpu(GpuA)?;
    let heaps = heaps(cx, UDMABUF, SYSTEM)?;
    let buffer = cx.share(FOURCC, SIZE, heaps, &[Guest::Cpu])?;
    let target = Target::from(stamped(6)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let before = (buffer.parties().len(), buffer.mappings());
    let (service, socket) = Service::start(&buffer, "a process with gpu_a", Limits::default())?;
    let party = cx.party_of(&Guest::Gpu(&gpu), &buffer)?;
    let peer = cx.peer(GpuA)?;
    match when {
        When::Attached => peer.attach_only(socket, &party)?,
        When::Mapped => peer.take_part(socket, &party, None)?,
        When::Drawn => peer.take_part(socket, &party, Some(7))?,
    }
    if !matches!(when, When::Attached) {
        let busy = matches!(buffer.attach_within(only("system"), SHORTLY), Err(ShareError::Busy(_)));
        cx.claim("busy before", busy, || Finding::new("storage moved under the mapping of another process"));
    }
    cx.peer(GpuA)?.kill();
    let left = service.ended(GONE)?;
    cx.equals("attachments that it left", 1, left.attachments);
    cx.equals("mappings that it left", usize::from(!matches!(when, When::Attached)), left.mappings);
    let kept = "what a process held that has gone is kept for it";
    cx.equals_else("parties afterwards", before.0, buffer.parties().len(), kept);
    none_stays(cx, &buffer, before.1);
    if cx.disagrees() {
        return cx.agree();
    }
    let _strict = buffer.attach(only("system"))?;
    let target = if matches!(when, When::Drawn) { Target::from(stamped(7)?) } else { target };
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// Whatever one peer says, it is told so, and another one and this process go on as if nothing were.
fn lies(cx: &mut Cx, lie: Lie) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let target = Target::from(stamped(3)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let files = cx.open_files()?;
    // It holds its mapping for as long as the other one lies.
    let patient = Limits { hold: GONE * 12, ..Limits::default() };
    let (honest_service, socket) = Service::start(&buffer, "an honest peer", patient)?;
    let honest = RemoteBuffer::on(Channel::on(socket, "this process"));
    let attachment = honest.attach(&easy("honest"))?;
    let held = honest.map(attachment, Access::Read, GONE)?;

    let limits = match lie {
        Lie::NeverReads => Limits { silence: GONE, unread: SHORTLY, refusals: usize::MAX, ..Limits::default() },
        _ => Limits { silence: GONE, ..Limits::default() },
    };
    let (service, socket) = Service::start(&buffer, "a liar", limits)?;
    let liar = Channel::on(socket, "this process");
    let refused = tells(&liar, lie, (attachment, held.number))?;
    drop(liar);
    let left: Left = service.ended(GONE * 3)?;
    cx.fact(
        "the liar left",
        format!(
            "{}, with {} attachments and {} mappings, after {} requests of which {} were refused",
            left.why, left.attachments, left.mappings, left.requests, left.refused
        ),
    );
    if let Lie::NeverReads = lie {
        // What it asks for is refused as well, and is not why it has to go.
        cx.claim("why the liar was cut off", left.why.contains("sendmsg"), || {
            Finding::new("a peer that reads no answers was not cut off for that").row("left", left.why.clone())
        });
        cx.equals("mappings that it left", 1, left.mappings);
    }
    cx.claim("the lie is refused", refused && left.refused > 0, || {
        Finding::new("a lie was not refused")
            .row("refused", format!("{} of {} requests", left.refused, left.requests))
            .row("like", "who serves a peer believes what it says, or says itself that it has done what it has not")
    });

    cx.sees("the honest peer", &target, &held.shared.read_back()?)?;
    honest.unmap(held.number)?;
    honest.detach(attachment)?;
    drop(held);
    drop(honest);
    let honest = honest_service.ended(GONE)?;
    cx.equals("requests of the honest peer that were refused", 0, honest.refused);
    cx.equals("parties afterwards", 0, buffer.parties().len());
    none_stays(cx, &buffer, 0);
    cx.equals("files afterwards", files, cx.open_files()?);
    cx.cpu_sees(&buffer, &target)?;
    cx.agree()
}

/// Nobody has a mapping of `buffer` but those who had one `before`.
fn none_stays(cx: &mut Cx, buffer: &Buffer, before: usize) {
    let counted = buffer.mappings();
    cx.claim("mappings afterwards", counted == before, || {
        Finding::new(format!("{} mappings are counted that have ended", counted.abs_diff(before)))
            .row("target", before.to_string())
            .row("actual", counted.to_string())
            .row("like", "who was done with a mapping did not say so")
    });
}

/// Lies, and says whether it was told so.
fn tells(liar: &Channel, lie: Lie, of_others: (u64, u64)) -> Result<bool> {
    let ask = |request: &Request| -> Result<Option<Answer>> {
        liar.send(request, &[])?;
        Ok(liar.recv::<Answer>(GONE)?.map(|received| received.message))
    };
    let refused = |answer: Option<Answer>| matches!(answer, Some(Answer::Refused { .. }));
    let attach = Request::Attach { party: easy("liar") };
    let map = |attachment| Request::Map { attachment, access: Access::Write, hold_ms: u64::MAX };
    Ok(match lie {
        Lie::MapsUnattached => refused(ask(&map(1))?),
        Lie::UnmapsTwice => {
            let Some(Answer::Attached { attachment }) = ask(&attach)? else { return Ok(false) };
            let Some(Answer::Mapped { mapping, .. }) = ask(&map(attachment))? else { return Ok(false) };
            let once = ask(&Request::Unmap { mapping })?;
            once == Some(Answer::Done) && refused(ask(&Request::Unmap { mapping })?)
        }
        Lie::UsesNumbersOfOthers => {
            let (attachment, mapping) = of_others;
            refused(ask(&Request::Unmap { mapping })?)
                && refused(ask(&Request::Detach { attachment })?)
                && refused(ask(&map(attachment))?)
        }
        Lie::TalksGarbage => {
            let (reader, writer) =
                std::io::pipe().map_err(|error| handover::error::Error::new("pipe", "a liar", error))?;
            let mut all = true;
            for garbage in ["", "attach", &"x".repeat(20_000)] {
                liar.send(&garbage, &[std::os::fd::AsFd::as_fd(&writer)])?;
                all &= refused(liar.recv::<Answer>(GONE)?.map(|received| received.message));
            }
            drop((reader, writer));
            all
        }
        Lie::Floods => {
            // Until the door is shut.
            let mut answered = 0;
            while let Ok(Some(_)) = ask(&map(99)) {
                answered += 1;
                if answered > 10_000 {
                    return Ok(false);
                }
            }
            answered > 0
        }
        Lie::HoardsMappings => {
            let Some(Answer::Attached { attachment }) = ask(&attach)? else { return Ok(false) };
            let limit = Limits::default().mappings;
            (0..limit).all(|_| matches!(ask(&map(attachment)), Ok(Some(Answer::Mapped { .. }))))
                && refused(ask(&map(attachment))?)
        }
        Lie::NeverReads => {
            let Some(Answer::Attached { attachment }) = ask(&attach)? else { return Ok(false) };
            let Some(Answer::Mapped { .. }) = ask(&map(attachment))? else { return Ok(false) };
            // The answers fill the socket, and the service gives up on a peer that does not read them.
            while liar.send(&map(99), &[]).is_ok() {}
            true
        }
    })
}
