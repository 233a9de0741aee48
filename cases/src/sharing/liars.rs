//! A peer is in nobody's way: what it demands, says and holds has an end, and an owner that lies to it is found out.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use handover::channel::Channel;
use handover::error::Error;
use handover::prelude::*;
use handover::share::buffer::Buffer;
use handover::share::constraints::{Bytes, Constraints, MemoryNeeds, Party};
use handover::share::message::{Answer, Request};
use handover::share::remote::RemoteBuffer;
use handover::share::serve::{Limits, Service};

use super::{FOURCC, SHORTLY, SIZE, SYSTEM, UDMABUF, easy, heaps, only, stamped, wish};

/// Within this time everything has an end that is to have one.
const GONE: Duration = Duration::from_secs(5);

/// A frame of [`SIZE`] needs no more, whatever a peer says.
const LARGE: u64 = 1 << 20;

/// A way to make a buffer large.
type Demand = fn(&mut Constraints);

const DEMANDS: [(&str, Demand); 5] = [
    ("size", |of| of.size.min = 40 << 20),
    ("size_alignment", |of| of.size.alignment = 64 << 20),
    ("padding", |of| of.padding = 40 << 20),
    ("rows", |of| of.rows_behind = 40_000),
    ("pitch", |of| of.pitch.alignment = 1 << 20),
];

/// What a peer has too many words in.
#[derive(Clone, Copy)]
enum Wordy {
    Name,
    HeapName,
    Heaps,
    Garbage,
}

const WORDY: [(&str, Wordy); 4] = [
    ("in_its_name", Wordy::Name),
    ("in_the_name_of_a_heap", Wordy::HeapName),
    ("in_its_heaps", Wordy::Heaps),
    ("in_garbage", Wordy::Garbage),
];

/// What a peer does while it holds a mapping for too long.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Sleeps,
    Talks,
    WaitsForItself,
}

const MEANWHILE: [(&str, Meanwhile); 3] = [
    ("and_sleeps", Meanwhile::Sleeps),
    ("and_talks", Meanwhile::Talks),
    ("and_waits_for_itself", Meanwhile::WaitsForItself),
];

/// What an owner hands out that is not what it says.
#[derive(Clone, Copy)]
enum HandsOut {
    NoFile,
    AFile,
    TwoFiles,
    ATallerFrame,
    AFrameBehindTheEnd,
    APlaneTooMany,
}

impl HandsOut {
    /// Whether the frame itself is as it should be.
    fn is_about_files(self) -> bool {
        matches!(self, Self::NoFile | Self::AFile | Self::TwoFiles)
    }
}

const HANDS_OUT: [(&str, HandsOut, &str); 6] = [
    ("no_file", HandsOut::NoFile, "0 fds came along; 1 dma-buf would be valid"),
    ("a_file", HandsOut::AFile, "not a dma-buf"),
    ("two_files", HandsOut::TwoFiles, "2 fds came along; 1 dma-buf would be valid"),
    ("a_taller_frame", HandsOut::ATallerFrame, "plane 0 reaches up to byte 13000000 of a buffer of"),
    ("a_frame_behind_the_end", HandsOut::AFrameBehindTheEnd, "plane 0 reaches up to byte"),
    ("a_plane_too_many", HandsOut::APlaneTooMany, "2 planes; XR24 has 1"),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    cases
        .add("sharing::a_peer_that_collides_is_refused_before_there_is_storage", collides)
        .must_fail_under("refusal-late");
    for (name, demand) in DEMANDS {
        cases
            .add(format!("sharing::a_peer_that_demands_too_much_is_refused::{name}"), move |cx| demands(cx, demand))
            .must_fail_under("needs-unsaid");
    }
    cases.add("sharing::peers_together_demand_no_more_than_one_may", together).must_fail_under("needs-unsaid");
    for (name, wordy) in WORDY {
        let case =
            cases.add(format!("sharing::a_peer_of_many_words_harms_only_itself::{name}"), move |cx| talks(cx, wordy));
        if let Wordy::Garbage = wordy {
            case.must_fail_under("message-twice");
        }
    }
    cases
        .add("sharing::a_peer_that_holds_much_leaves_others_their_answers", holds_much)
        .must_fail_under("name-taken")
        .fails_with("the answer does not say \"busy: a hoarder");
    cases
        .add("sharing::a_peer_is_called_what_its_owner_calls_it", called)
        .must_fail_under("message-twice")
        .must_fail_under("name-taken");
    for (name, meanwhile) in MEANWHILE {
        let case =
            cases.add(format!("sharing::a_peer_that_overstays_is_cut_off::{name}"), move |cx| overstays(cx, meanwhile));
        if meanwhile == Meanwhile::Sleeps {
            case.must_fail_under("timed-wait-at-once");
        }
    }
    cases.add("sharing::a_peer_without_files_holds_nothing", without_files).must_fail_under("sent-fds-lost");
    for (name, hands_out, why) in HANDS_OUT {
        let case = cases.add(format!("sharing::a_peer_finds_out_what_is_no_frame::{name}"), move |cx| {
            finds_out(cx, hands_out, why)
        });
        case.must_fail_under(if hands_out.is_about_files() { "frame-files-untold" } else { "frame-unmeasured" });
    }
}

/// Serves `buffer` to a peer that is this process.
fn serve(buffer: &Buffer, name: &str, limits: Limits) -> Result<(Service, RemoteBuffer)> {
    let (service, socket) = Service::start(buffer, name, limits)?;
    Ok((service, RemoteBuffer::on(Channel::on(socket, "the owner"))))
}

/// What a call says that succeeds.
const GRANTED: &str = "nothing: it was granted";

/// What was said instead of a success, if it was.
fn told<T>(result: std::result::Result<T, impl std::fmt::Display>) -> String {
    result.map_or_else(|error| error.to_string(), |_| GRANTED.to_owned())
}

/// Claims that `said` has all of `words` in it.
fn says(cx: &mut Cx, what: &str, said: &str, words: &[&str]) {
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    cx.claim(what, missing.is_empty(), || {
        let finding = match said {
            GRANTED => format!("{what} did not come: the call was granted"),
            _ => format!("{what} does not say {}", quoted(&missing)),
        };
        let like = match said {
            GRANTED => "a check that is made later, when storage is there and others use it, or never",
            _ => "an error that is handed on without who and what it is about",
        };
        Finding::new(finding).row("said", said.to_owned()).row("like", like)
    });
}

/// `words` as they are read.
fn quoted(words: &[&&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" and ")
}

fn constrained(name: &str, constraints: Constraints) -> Party {
    Party { name: name.to_owned(), constraints }
}

/// A peer with which nothing suits everybody is not let in, though there is no storage that it does not suit.
fn collides(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let any = Constraints::cpu(&[FOURCC]);
    let (_service, liar) = serve(&buffer, "a peer", Limits::default())?;
    let said = told(liar.attach(&constrained("liar", Constraints::cpu(&[Fourcc::AR24]))));
    says(cx, "the refusal of a format that is not wished", &said, &["nothing suits everybody", "a peer", "AR24"]);
    cx.equals("parties", 0, buffer.parties().len());

    let narrow = Constraints { pitch: Bytes { max: 1023, ..Bytes::ANY }, ..any.clone() };
    let honest = buffer.attach(constrained("an honest device", narrow))?;
    let said = told(liar.attach(&constrained("liar", Constraints { pitch: Bytes::aligned(1024), ..any })));
    says(cx, "the refusal of a pitch that is not everybody's", &said, &["pitch", "an honest device", "a peer"]);
    cx.equals("parties with the honest one", 1, buffer.parties().len());
    cx.equals("storages", 0, buffer.generation());
    let said = honest.map(Access::Read).map(drop);
    cx.claim("the map of the honest one", said.is_ok(), || {
        Finding::new("who was refused is in the way").row("said", told(said))
    });
    // Nothing keeps it from coming back with less.
    liar.attach(&easy("liar"))?;
    cx.agree()
}

/// Its constraints make nobody allocate much more than the pixels need.
fn demands(cx: &mut Cx, demand: Demand) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let (_service, greedy) = serve(&buffer, "a peer", Limits::default())?;
    let mut constraints = Constraints::cpu(&[FOURCC]);
    demand(&mut constraints);
    let said = told(greedy.attach(&constrained("greedy", constraints)));
    says(
        cx,
        "the refusal of what a peer demands",
        &said,
        &["B of XR24 250x130 px, whose pixels are 130000 B; at most", "would be valid"],
    );
    let honest = buffer.attach(easy("honest"))?;
    let size = honest.map(Access::Read)?.shared().dmabuf.size;
    cx.claim("the size of the buffer", size < LARGE, || {
        Finding::new(format!("a peer had the owner allocate {size} B for a frame of 130000 B"))
    });
    cx.agree()
}

/// Two peers, each with as much as one may have: long rows, and many of them.
fn together(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let (_one, long) = serve(&buffer, "a peer", Limits::default())?;
    let (_other, many) = serve(&buffer, "its friend", Limits::default())?;
    let any = Constraints::cpu(&[FOURCC]);
    let of_long = constrained("long", Constraints { pitch: Bytes { min: 32_768, ..Bytes::ANY }, ..any.clone() });
    let of_many = constrained("many", Constraints { rows_behind: 4000, ..any });
    let first = long.attach(&of_long)?;
    let said = told(many.attach(&of_many));
    let words = ["its friend", "its constraints and those of 1 more make", "would be valid"];
    says(cx, "the refusal of what two peers demand together", &said, &words);
    cx.equals("parties", 1, buffer.parties().len());
    // Alone it may have it.
    long.detach(first)?;
    many.attach(&of_many)?;
    cx.equals("parties once the first had left", 1, buffer.parties().len());
    cx.agree()
}

/// What it says is cut short before it gets into anybody's answers; its connection lives on, and it may say less.
fn talks(cx: &mut Cx, wordy: Wordy) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let (_service, socket) = Service::start(&buffer, "a peer", Limits::default())?;
    let liar = Channel::on(socket, "the owner");
    let named = |heaps: Vec<String>| {
        let any = Constraints::cpu(&[FOURCC]);
        let memory = MemoryNeeds { heaps: Some(heaps.into_iter().collect()), ..any.memory.clone() };
        Request::Attach { party: constrained("liar", Constraints { memory, ..any }) }
    };
    let ask = |request: Option<&Request>| -> Result<Answer> {
        match request {
            Some(request) => liar.send(request, &[])?,
            None => liar.send(&"x".repeat(32_000), &[])?,
        }
        let received = liar.recv::<Answer>(GONE)?;
        received.map(|received| received.message).ok_or_else(|| Error::missing("asking", "a peer", "it is cut off"))
    };
    let answer = match wordy {
        Wordy::Name => ask(Some(&Request::Attach { party: easy(&"x".repeat(500)) })),
        Wordy::HeapName => ask(Some(&named(vec!["udmabuf".to_owned(), "x".repeat(20_000)]))),
        Wordy::Heaps => ask(Some(&named((0..1000).map(|n| format!("heap {n}")).collect()))),
        Wordy::Garbage => ask(None),
    }?;
    let word = if matches!(wordy, Wordy::Garbage) { "not a message" } else { "would be valid" };
    says(cx, "the answer", &format!("{answer:?}"), &["Refused", word]);
    cx.claim("the length of the answer", format!("{answer:?}").len() < 5000, || {
        Finding::new("a refusal repeats all that was said")
    });
    cx.equals("parties", 0, buffer.parties().len());
    let answer = ask(Some(&Request::Attach { party: easy("liar") }))?;
    says(cx, "the answer to less", &format!("{answer:?}"), &["Attached"]);
    cx.agree()
}

/// However many mappings a peer holds, whoever is in their way hears of it in an answer that has an end.
fn holds_much(cx: &mut Cx) -> Outcome {
    const MAPPINGS: usize = 200;
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let (_service, hoarder) = serve(&buffer, "a hoarder", Limits { mappings: MAPPINGS, ..Limits::default() })?;
    let attachment = hoarder.attach(&easy(&"x".repeat(128)))?;
    for _ in 0..MAPPINGS {
        hoarder.map(attachment, Access::Read, GONE)?;
    }
    let (_honest, honest) = serve(&buffer, "honest", Limits { patience: SHORTLY, ..Limits::default() })?;
    let attachment = honest.attach(&easy("honest"))?;
    let mapping = honest.map(attachment, Access::Read, GONE)?;
    let said = told(honest.attach(&only("system")));
    says(cx, "the answer", &said, &["busy: a hoarder calling itself", "193 mappings more"]);
    honest.unmap(mapping.number)?;
    cx.agree()
}

/// A peer that takes the name of another device is not taken for it.
fn called(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let (_service, liar) = serve(&buffer, "peer 4711", Limits::default())?;
    let attachment = liar.attach(&easy("screen"))?;
    let _held = liar.map(attachment, Access::Read, Duration::ZERO)?;
    let said = told(buffer.attach_within(only("system"), SHORTLY));
    says(cx, "who is in the way", &said, &["peer 4711 calling itself \"screen\" has held a mapping"]);
    let said = told(liar.detach(attachment));
    says(cx, "who still has a mapping", &said, &["peer 4711 calling itself \"screen\""]);
    let said = told(liar.attach(&Party { name: "screen\n".to_owned(), ..easy("") }));
    says(cx, "the refusal of a name of two lines", &said, &["'\\n'", "would be valid"]);
    cx.agree()
}

/// Who holds a mapping for longer than anybody may loses it, whatever it does meanwhile; the others go on, in new storage.
fn overstays(cx: &mut Cx, meanwhile: Meanwhile) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let target = Target::from(stamped(3)?);
    cx.cpu_writes(&buffer, &target.picture)?;
    let (_honest, honest) = serve(&buffer, "honest", Limits::default())?;
    let other = honest.attach(&easy("honest"))?;

    let hold = SHORTLY * 5;
    let limits = Limits { hold, refusals: usize::MAX, patience: GONE * 2, ..Limits::default() };
    let (service, slow) = serve(&buffer, "peer 4711", limits)?;
    let attachment = slow.attach(&easy("slow"))?;
    let held = slow.map(attachment, Access::Write, GONE * 100)?;
    let (attached, said) = std::thread::scope(|scope| {
        let busy = scope.spawn(|| match meanwhile {
            Meanwhile::Sleeps => String::new(),
            Meanwhile::Talks => {
                let began = Instant::now();
                loop {
                    let said = told(slow.unmap(99));
                    if !said.contains("is not one of yours") || began.elapsed() > GONE {
                        return said;
                    }
                }
            }
            Meanwhile::WaitsForItself => told(slow.attach(&only("system"))),
        });
        let attached = buffer.attach_within(only("system"), GONE);
        (attached, busy.join().unwrap_or_default())
    });
    let strict = attached
        .map_err(|error| Finding::new("who overstays is in the way for ever").row("said", error.to_string()))?;
    cx.fact("the slow peer was told", said);
    cx.equals("storages", 2, buffer.generation());
    let mapping = honest.map(other, Access::Read, GONE)?;
    cx.equals("the heap that the others see", "system".to_owned(), mapping.heap.clone());
    cx.sees("the honest peer", &target, &mapping.shared.read_back()?)?;
    honest.unmap(mapping.number)?;

    let left = service.ended(GONE)?;
    let named = "peer 4711 calling itself \"slow\" has held mapping 2 (write) for";
    says(cx, "why it is cut off", &left.why, &[named, "of at most 100 ms"]);
    cx.equals("mappings that it left", 1, left.mappings);
    if meanwhile == Meanwhile::Sleeps {
        says(cx, "what it is told", &told(slow.unmap(held.number)), &[named]);
    }
    cx.equals("parties afterwards", 2, buffer.parties().len());
    // Its fd is its own, but what it still draws is nobody's picture any more.
    held.shared.write(&stamped(9)?)?;
    cx.cpu_sees(&buffer, &target)?;
    drop(strict);
    cx.agree()
}

/// A peer that can't take the dma-buf has no mapping, here or there.
fn without_files(cx: &mut Cx) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    buffer.allocate()?;
    let (_service, remote) = serve(&buffer, "a peer", Limits::default())?;
    let attachment = remote.attach(&easy("peer"))?;
    let (mut refused, mut held, mut silent) = (0, 0, Vec::new());
    for left in 0..3 {
        for _ in 0..20 {
            match cx.with_files_left(left, |_| remote.map(attachment, Access::Read, GONE))? {
                Ok(mapping) => remote.unmap(mapping.number)?,
                Err(error) => {
                    refused += 1;
                    let said = error.to_string();
                    if !said.contains("EMFILE") {
                        silent.push(said);
                    }
                }
            }
            held += buffer.mappings();
        }
    }
    cx.claim("errors", silent.is_empty(), || {
        Finding::new(format!(
            "{} of {refused} maps that failed do not say EMFILE, the first: {}",
            silent.len(),
            silent[0]
        ))
        .row("target", "EMFILE: the receiver had no number left for the fd")
        .row("like", "fds that were lost on their way, and not for want of numbers")
    });
    cx.equals("mappings after maps that failed", 0, held);
    cx.claim("maps that failed", refused >= 20, || Finding::new(format!("{refused} maps failed, without files left")));

    // An owner that is not there when the files run out: all that it says lies in the socket.
    let mapping = buffer.attach(easy("cpu"))?;
    let mapping = mapping.map(Access::Read)?;
    let frame = mapping.shared().frame.clone();
    let (owner, remote) = prepared(frame, &[mapping.shared().dmabuf.fd.as_fd()])?;
    let said = told(cx.with_files_left(0, |_| remote.map(1, Access::Read, GONE))?);
    says(cx, "the error of the peer alone", &said, &["0 of the fds of a message came", "EMFILE"]);
    given_back(cx, &owner)?;
    cx.agree()
}

/// An owner that has answered a map and an unmap already.
fn prepared(frame: Frame, fds: &[BorrowedFd<'_>]) -> Result<(Channel, RemoteBuffer)> {
    let (owner, socket) = Channel::pair("a peer")?;
    let mapped = Answer::Mapped { mapping: 7, generation: 1, heap: "udmabuf".to_owned(), frame };
    owner.send(&mapped, fds)?;
    owner.send(&Answer::Done, &[])?;
    Ok((owner, RemoteBuffer::on(Channel::on(socket, "an owner"))))
}

/// Claims that what [`prepared`] has handed out was asked for and given back.
fn given_back(cx: &mut Cx, owner: &Channel) -> Outcome {
    for word in ["Map {", "Unmap { mapping: 7 }"] {
        let asked = owner.recv::<Request>(GONE)?.map(|received| received.message);
        says(cx, "what the owner was asked", &format!("{asked:?}"), &[word]);
    }
    Ok(())
}

/// What an owner hands out is looked at before it is used, and given back if it is not what the owner says.
fn finds_out(cx: &mut Cx, hands_out: HandsOut, why: &str) -> Outcome {
    let buffer = Buffer::export(wish(), heaps(cx, UDMABUF, SYSTEM)?);
    let attachment = buffer.attach(easy("cpu"))?;
    let mapping = attachment.map(Access::Read)?;
    let file = File::open("/proc/self/exe").map_err(|error| Error::new("open", "/proc/self/exe", error))?;
    let (dmabuf, file) = (mapping.shared().dmabuf.fd.as_fd(), file.as_fd());
    let frame = mapping.shared().frame.clone();
    let plane = frame.planes[0];
    let behind = Plane { offset: mapping.shared().dmabuf.size - 1, ..plane };
    let (frame, fds) = match hands_out {
        HandsOut::NoFile => (frame, vec![]),
        HandsOut::AFile => (frame, vec![file]),
        HandsOut::TwoFiles => (frame, vec![dmabuf, file]),
        HandsOut::ATallerFrame => (Frame { size: px(SIZE.width, 13_000), ..frame }, vec![dmabuf]),
        HandsOut::AFrameBehindTheEnd => (Frame { planes: vec![behind], ..frame }, vec![dmabuf]),
        HandsOut::APlaneTooMany => (Frame { planes: vec![plane, plane], ..frame }, vec![dmabuf]),
    };
    let files = cx.open_files()?;
    let (owner, remote) = prepared(frame, &fds)?;
    let said = told(remote.map(1, Access::Read, GONE));
    let of = if hands_out.is_about_files() { "files that are not one dma-buf" } else { "a frame that is none" };
    says(cx, &format!("the refusal of {of}"), &said, &[why]);
    if cx.disagrees() {
        return cx.agree();
    }
    given_back(cx, &owner)?;
    drop((owner, remote));
    cx.equals("files afterwards", files, cx.open_files()?);
    // What is as the owner says is taken.
    let (_owner, remote) = prepared(mapping.shared().frame.clone(), &[dmabuf])?;
    cx.claim("the map of a true frame", remote.map(1, Access::Read, GONE).is_ok(), || {
        Finding::new("a frame in a dma-buf is refused")
    });
    cx.agree()
}
