//! A card that takes a buffer in has a handle for it: what that handle is worth, and for how long.
//!
//! Source: "PRIME Buffer Sharing" in the kernel's DRM memory management documentation, "PRIME Helper Functions" and
//! "Lifetime Rules" of it.

use handover::dmabuf::{Dmabuf, Identity};
use handover::kms::Imported;
use handover::prelude::*;
use handover::udmabuf;

const SIZE: Size = px(250, 130);

pub(crate) fn register(cases: &mut Cases<Cx>) {
    for card in [Vgem, Screen] {
        for (claim, body, fault) in CLAIMS {
            let name = format!("prime::{claim}::{card}");
            cases.add(name, move |cx| body(cx, card)).from(Udmabuf).to(card).must_fail_under(fault);
        }
    }
}

type Claim = fn(&mut Cx, Role) -> Outcome;

/// Each with a fault that it sees.
const CLAIMS: [(&str, Claim, &str); 4] = [
    ("hands_on_the_buffer_that_it_took", hands_on, "prime-import-copies"),
    ("has_one_handle_for_a_buffer_taken_twice", one_handle, "prime-import-copies"),
    ("does_not_map_what_it_took", does_not_map, "imported-mapped"),
    ("keeps_a_buffer_that_everybody_else_let_go", keeps, "gem-handle-kept"),
];

/// A frame in pages of nobody's, which the CPU has drawn.
fn drawn(cx: &mut Cx, card: Role) -> Result<(Buffer, Target), Trouble> {
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Cpu, Guest::Plays(card)])?;
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    cx.cpu_writes(&buffer, &target.picture)?;
    Ok((buffer, target))
}

/// Claims that what `card` hands on is the dma-buf that it took in.
fn is_the_same(cx: &mut Cx, card: Role, taken: &Identity, handed_on: &Dmabuf) -> Outcome {
    let actual = handed_on.identity()?;
    cx.claim("inode of the dma-buf", taken.inode == actual.inode, || {
        Finding::new(format!("{card} hands on another buffer than it took in"))
            .row("target", format!("dma-buf {}", taken.inode))
            .row("actual", format!("dma-buf {}", actual.inode))
            .row("like", "an import that makes a buffer of its own, such as a copy")
    });
    Ok(())
}

/// What the card exports of its handle is the very dma-buf that it imported, with its bytes, and not a copy.
fn hands_on(cx: &mut Cx, card: Role) -> Outcome {
    let (buffer, target) = drawn(cx, card)?;
    let prime = cx.prime(card)?;
    cx.mapped(&Guest::Plays(card), &buffer, Access::Write, |cx, shared| {
        let handed_on = prime.import(&shared.dmabuf)?.export()?;
        is_the_same(cx, card, &shared.dmabuf.identity()?, &handed_on)?;
        let frame = shared.frame.clone();
        let handed_on = SharedFrame { dmabuf: handed_on, frame };
        cx.sees("handed on", &target, &handed_on.read_back()?)?;
        // And in the other direction.
        let next = Target::stamped(8, Fourcc::XR24, SIZE)?;
        handed_on.write(&next.picture)?;
        cx.sees("as it was", &next, &shared.read_back()?)?;
        Ok(())
    })?;
    cx.agree()
}

/// A file of the card has one handle for a buffer, however often it takes it; another file has one of its own.
fn one_handle(cx: &mut Cx, card: Role) -> Outcome {
    let (buffer, target) = drawn(cx, card)?;
    let (prime, second) = (cx.prime(card)?, cx.second_prime(card)?);
    cx.mapped(&Guest::Plays(card), &buffer, Access::Read, |cx, shared| {
        let first = prime.import(&shared.dmabuf)?;
        let again = prime.import(&shared.dmabuf)?;
        let by_another_fd = prime.import(&shared.dmabuf.try_clone()?)?;
        let elsewhere = second.import(&shared.dmabuf)?;
        for (how, other) in [("again", &again), ("by another fd", &by_another_fd)] {
            cx.claim(format!("GEM handle, taken {how}"), first.handle() == other.handle(), || {
                Finding::new(format!("{card} has two GEM handles for one dma-buf that it took in {how}"))
                    .row("target", first.handle().to_string())
                    .row("actual", other.handle().to_string())
                    .row("like", "an import that makes a buffer of its own, such as a copy")
            });
        }
        let seen = |handle: &Imported| {
            let handed_on = SharedFrame { dmabuf: handle.export()?, frame: shared.frame.clone() };
            handed_on.read_back()
        };
        // Who took it again has it when others let go, and so has the other file, whichever of the two goes first.
        drop(by_another_fd);
        cx.sees("handed on by who took it again", &target, &seen(&again)?)?;
        drop(again);
        cx.sees("handed on by who took it first", &target, &seen(&first)?)?;
        drop(elsewhere);
        cx.sees("handed on by the file that is left", &target, &seen(&first)?)?;
        let elsewhere = second.import(&shared.dmabuf)?;
        drop(first);
        cx.sees("handed on by the other file", &target, &seen(&elsewhere)?)?;
        drop(elsewhere);
        let first = prime.import(&shared.dmabuf)?;
        cx.sees("handed on when it is taken once more", &target, &seen(&first)?)?;
        Ok(())
    })?;
    cx.agree()
}

/// A handle of a buffer that came from elsewhere can't be mapped by the card: its exporter decides how it is mapped.
fn does_not_map(cx: &mut Cx, card: Role) -> Outcome {
    let (buffer, _) = drawn(cx, card)?;
    let prime = cx.prime(card)?;
    cx.mapped(&Guest::Plays(card), &buffer, Access::Read, |cx, shared| {
        let handle = prime.import(&shared.dmabuf)?;
        let offset = handle.map_offset();
        let driver = if card == Screen { cx.screen()?.identity().driver } else { "vgem".to_owned() };
        if offset.is_ok() && !["vkms", "vgem"].contains(&driver.as_str()) {
            let why = "DRM's helper refuses, and drivers may map by a way of their own (drm_gem_dumb_map_offset)";
            return Err(Trouble::Skip(format!("{driver} says where it maps what it took in: {why}")));
        }
        cx.claim("DRM_IOCTL_MODE_MAP_DUMB", offset.is_err(), || {
            Finding::new("a handle of an imported buffer can be mapped as if it were the card's own")
                .row("offset", format!("{:?}", offset.ok()))
                .row("like", "a mapping that goes past the exporter, who has to move and to flush what is mapped")
        });
        Ok(())
    })?;
    cx.agree()
}

/// The card's handle keeps a buffer whose every other owner is gone, and lets it go when it is closed.
fn keeps(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    let frame = Frame::linear(Fourcc::XR24, SIZE, Plane { offset: 0, pitch: 1024 });
    let (handle, identity) = {
        let shared = udmabuf::for_frame(frame.clone(), 0)?;
        shared.write(&target.picture)?;
        (prime.import(&shared.dmabuf)?, shared.dmabuf.identity()?)
    };
    let listed = cx.is_listed(&identity)?;
    cx.claim("kept", listed, || Finding::new("the buffer is gone, though the card has a handle"));
    {
        let handed_on = SharedFrame { dmabuf: handle.export()?, frame };
        is_the_same(cx, card, &identity, &handed_on.dmabuf)?;
        cx.sees("handed on", &target, &handed_on.read_back()?)?;
    }
    drop(handle);
    let gone = cx.is_gone(&identity)?;
    cx.claim("let go", gone, || Finding::new("the buffer is still there, and nobody has it"));
    cx.agree()
}
