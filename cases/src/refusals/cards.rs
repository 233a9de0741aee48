//! What a card refuses: files that are no buffers, handles that are none, framebuffers that lead outside their buffer,
//! and commits that nobody could show.
//!
//! Errors: `dma_buf_get` (`EBADF` for no file, `EINVAL` for a file that is no dma-buf), `drm_gem_prime_handle_to_fd`
//! and `drm_gem_handle_delete`, `drm_internal_framebuffer_create` and `drm_framebuffer_check_src_coords` (`ENOSPC`),
//! `drm_atomic_*_check`.

use std::os::fd::AsFd;
use std::time::Duration;

use handover::kms::{AddFb, BadCommit};
use handover::prelude::*;
use handover::stray::Stray;
use handover::udmabuf;

use super::{judge, refused, words};

const SIZE: Size = px(64, 64);

/// `DRM_CLOEXEC | DRM_RDWR`.
const FLAGS: u32 = 0o2000000 | 2;

/// A number that no file of a card gives to a handle.
const NO_HANDLE: u32 = 0x7fff_ffff;

type Change = fn(&mut AddFb);

const FRAMEBUFFERS: [(&str, Fourcc, Change, &[&str]); 19] = [
    ("no_width", Fourcc::XR24, |fb| fb.width = 0, &["EINVAL"]),
    ("no_height", Fourcc::XR24, |fb| fb.height = 0, &["EINVAL"]),
    ("a_width_beyond_any_card", Fourcc::XR24, |fb| fb.width = 1 << 20, &["EINVAL"]),
    ("a_format_that_nobody_knows", Fourcc::XR24, |fb| fb.format = Fourcc::new(b"ZZ99").0, &["EINVAL"]),
    ("a_modifier_that_is_not_listed", Fourcc::XR24, |fb| fb.modifiers[0] = Modifier::FOREIGN.0, &["EINVAL"]),
    (
        "a_modifier_without_its_flag",
        Fourcc::XR24,
        |fb| {
            fb.flags = 0;
            fb.modifiers[0] = Modifier::FOREIGN.0;
        },
        &["EINVAL"],
    ),
    ("an_unknown_flag", Fourcc::XR24, |fb| fb.flags |= 0x80, &["EINVAL"]),
    ("no_pitch", Fourcc::XR24, |fb| fb.pitches[0] = 0, &["EINVAL"]),
    ("a_pitch_of_half_a_row", Fourcc::XR24, |fb| fb.pitches[0] /= 2, &["EINVAL"]),
    ("a_pitch_that_leads_behind_the_buffer", Fourcc::XR24, |fb| fb.pitches[0] *= 2, &["EINVAL"]),
    ("a_size_that_does_not_fit_in_32_bits", Fourcc::XR24, |fb| fb.pitches[0] = 0xf000_0000, &["ERANGE", "EINVAL"]),
    ("rows_behind_the_end", Fourcc::XR24, |fb| fb.height *= 2, &["EINVAL"]),
    ("an_offset_behind_the_end", Fourcc::XR24, |fb| fb.offsets[0] = 1 << 20, &["EINVAL"]),
    ("no_buffer", Fourcc::XR24, |fb| fb.handles[0] = 0, &["EINVAL"]),
    ("a_handle_that_there_is_not", Fourcc::XR24, |fb| fb.handles[0] = NO_HANDLE, &["ENOENT"]),
    ("a_plane_too_many", Fourcc::XR24, |fb| fb.handles[1] = fb.handles[0], &["EINVAL"]),
    ("a_plane_too_few", Fourcc::NV12, |fb| fb.handles[1] = 0, &["EINVAL"]),
    ("a_second_plane_behind_the_end", Fourcc::NV12, |fb| fb.offsets[1] = 1 << 20, &["EINVAL"]),
    ("planes_of_two_modifiers", Fourcc::NV12, |fb| fb.modifiers[1] = Modifier::FOREIGN.0, &["EINVAL"]),
];

// Of a fence's place: `set_out_fence_for_connector` and `drm_atomic_crtc_set_property` (`EFAULT`), which write there before
// anything is checked.
const COMMITS: [(&str, BadCommit, &str); 17] = [
    ("a_source_outside_the_framebuffer", BadCommit::SourceOutsideTheFramebuffer, "ENOSPC"),
    ("a_framebuffer_without_crtc", BadCommit::FramebufferWithoutCrtc, "EINVAL"),
    ("a_crtc_without_framebuffer", BadCommit::CrtcWithoutFramebuffer, "EINVAL"),
    ("a_framebuffer_that_there_is_not", BadCommit::UnknownFramebuffer, "EINVAL"),
    ("a_fence_that_is_none", BadCommit::FenceThatIsNone, "EINVAL"),
    ("a_modeset_that_is_not_allowed", BadCommit::ModesetThatIsNotAllowed, "EINVAL"),
    ("an_active_crtc_without_mode", BadCommit::ActiveWithoutMode, "EINVAL"),
    ("a_writeback_of_another_size", BadCommit::WritebackOfAnotherSize, "EINVAL"),
    ("a_writeback_fence_to_nowhere", BadCommit::WritebackFenceToNowhere, "EFAULT"),
    ("a_writeback_fence_to_what_is_only_read", BadCommit::WritebackFenceToReadOnly, "EFAULT"),
    ("a_fence_to_nowhere", BadCommit::OutFenceToNowhere, "EFAULT"),
    ("a_position_beyond_all", BadCommit::PositionBeyondAll, "ERANGE"),
    ("an_object_that_there_is_not", BadCommit::UnknownObject, "ENOENT"),
    ("a_property_that_there_is_not", BadCommit::UnknownProperty, "ENOENT"),
    ("a_fence_that_is_closed", BadCommit::ClosedFence, "EINVAL"),
    ("a_test_with_an_event", BadCommit::TestWithEvent, "EINVAL"),
    ("an_unknown_flag", BadCommit::UnknownFlag, "EINVAL"),
];

pub(super) fn register(cases: &mut Cases<Cx>) {
    for card in [Vgem, Screen] {
        for stray in Stray::ALL {
            let case = cases
                .add(format!("refusals::prime_refuses::{}::{card}", stray.as_str()), move |cx| {
                    refuses_stray(cx, card, stray)
                })
                .to(card)
                .needs(Need::Device(Udmabuf));
            if stray == Stray::Pipe {
                case.must_fail_under("prime-import-unchecked");
            }
            if stray == Stray::Eventfd {
                case.must_fail_under("refused-import-keeps-fd");
            }
        }
        let mut add = |claim: &str, body: fn(&mut Cx, Role) -> Outcome, fault: &str| {
            let name = format!("refusals::{claim}::{card}");
            let case = cases.add(name, move |cx| body(cx, card)).to(card);
            case.needs(Need::Device(Udmabuf)).must_fail_under(fault);
        };
        add("prime_exports_no_handle_that_there_is_not", exports_none, "prime-export-unchecked");
        add("prime_exports_with_known_flags_alone", exports_with_flags, "prime-export-unchecked");
        add("a_card_closes_no_handle_that_there_is_not", closes_none, "removal-unchecked");
        add("a_card_closes_a_handle_once", closes_once, "removal-unchecked");
    }
    for (name, fourcc, change, valid) in FRAMEBUFFERS {
        let case = cases
            .add(format!("refusals::addfb2_refuses::{name}"), move |cx| {
                refuses_framebuffer(cx, &format!("ADDFB2 of {}", words(name)), (fourcc, change), valid)
            })
            .to(Screen)
            .needs(Need::Imports { role: Screen, format: fourcc.to_string() })
            .must_fail_under("addfb2-unchecked");
        if name == "no_width" {
            case.must_fail_under("refused-addfb2-keeps-handle");
        }
    }
    cases
        .add("refusals::a_card_removes_no_framebuffer_that_there_is_not", removes_none)
        .to(Screen)
        .must_fail_under("removal-unchecked");
    for (name, wrong, valid) in COMMITS {
        let case = cases
            .add(format!("refusals::a_commit_is_refused_with::{name}"), move |cx| {
                refuses_commit(cx, &format!("a commit with {}", words(name)), wrong, valid)
            })
            .to(Screen)
            .needs(Need::Seen);
        if let BadCommit::SourceOutsideTheFramebuffer = wrong {
            case.must_fail_under("test-only-accepts");
        }
        if matches!(
            wrong,
            BadCommit::WritebackOfAnotherSize
                | BadCommit::WritebackFenceToNowhere
                | BadCommit::WritebackFenceToReadOnly
        ) {
            case.needs(Need::Writeback);
        }
        // What is only tried is none that the fault is about, nor where a fence is put, which it does itself.
        if !matches!(
            wrong,
            BadCommit::TestWithEvent
                | BadCommit::UnknownFlag
                | BadCommit::WritebackFenceToNowhere
                | BadCommit::WritebackFenceToReadOnly
                | BadCommit::OutFenceToNowhere
        ) {
            case.must_fail_under("commit-unchecked");
        }
        if matches!(wrong, BadCommit::SourceOutsideTheFramebuffer | BadCommit::PositionBeyondAll) {
            case.must_fail_under("refused-commit-blanks");
        }
    }
    cases
        .add("refusals::a_commit_is_refused_while_one_is_under_way", refuses_a_second)
        .to(Screen)
        .must_fail_under("plane-fence-dropped");
    cases
        .add("refusals::a_commit_is_refused_of_who_is_not_master", refuses_others)
        .to(Screen)
        .must_fail_under("commit-unchecked");
}

fn refuses_stray(cx: &mut Cx, card: Role, stray: Stray) -> Outcome {
    let prime = cx.prime(card)?;
    let (dmabuf, _) = udmabuf::create(65536)?;
    let open = stray.open()?;
    let good = |_: &mut Cx| Ok(prime.import(&dmabuf).map(drop)?);
    let valid = if stray.is_open() { "EINVAL" } else { "EBADF " };
    let what = format!("{stray} (DRM_IOCTL_PRIME_FD_TO_HANDLE)");
    refused(cx, &what, &[valid], good, |_| prime.import_number(open.number()))?;
    cx.agree()
}

fn exports_none(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let (dmabuf, _) = udmabuf::create(65536)?;
    let taken = prime.import(&dmabuf)?;
    for handle in [0, NO_HANDLE] {
        let good = |cx: &mut Cx| {
            let inode = taken.export()?.inode();
            cx.equals("inode that is handed on", dmabuf.inode(), inode);
            Ok(())
        };
        let what = format!("an export of handle {handle} (DRM_IOCTL_PRIME_HANDLE_TO_FD)");
        refused(cx, &what, &["ENOENT"], good, |_| prime.export_handle(handle, FLAGS).map(drop))?;
    }
    cx.agree()
}

fn exports_with_flags(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let (dmabuf, _) = udmabuf::create(65536)?;
    let taken = prime.import(&dmabuf)?;
    // O_APPEND, O_TRUNC.
    for flag in [0o2000, 0o1000] {
        let good = |_: &mut Cx| Ok(taken.export().map(drop)?);
        let what = format!("an export with flag {flag:#o} (DRM_IOCTL_PRIME_HANDLE_TO_FD)");
        refused(cx, &what, &["EINVAL"], good, |_| prime.export_handle(taken.handle(), FLAGS | flag).map(drop))?;
    }
    cx.agree()
}

fn closes_none(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?;
    let (dmabuf, _) = udmabuf::create(65536)?;
    for handle in [0, NO_HANDLE] {
        let good = |_: &mut Cx| Ok(prime.import(&dmabuf).map(drop)?);
        let what = format!("closing handle {handle} (DRM_IOCTL_GEM_CLOSE)");
        refused(cx, &what, &["EINVAL"], good, |_| prime.close_handle(handle))?;
    }
    cx.agree()
}

/// A file's handle that is closed is nobody's; that another file has one of the same number is nothing to it.
fn closes_once(cx: &mut Cx, card: Role) -> Outcome {
    let prime = cx.prime(card)?.reopen()?;
    let other = prime.reopen()?;
    let (dmabuf, _) = udmabuf::create(65536)?;
    let elsewhere = other.import(&dmabuf)?;
    let handle = prime.import(&dmabuf)?.handle();
    let good = |cx: &mut Cx| {
        cx.equals("inode that the other file hands on", dmabuf.inode(), elsewhere.export()?.inode());
        Ok(())
    };
    refused(cx, "closing a handle that was closed (DRM_IOCTL_GEM_CLOSE)", &["EINVAL"], good, |_| {
        prime.close_handle(handle)
    })?;
    cx.agree()
}

fn refuses_framebuffer(cx: &mut Cx, what: &str, (fourcc, change): (Fourcc, Change), valid: &[&str]) -> Outcome {
    let prime = cx.prime(Screen)?;
    let shared = cx.screen()?.plain(fourcc, Modifier::LINEAR, SIZE)?;
    let taken = prime.import(&shared.dmabuf)?;
    let plain = taken.add_fb(&shared);
    let mut wrong = plain;
    change(&mut wrong);
    let good = |_: &mut Cx| Ok(prime.add_framebuffer(&plain)?);
    refused(cx, what, valid, good, |_| prime.add_framebuffer(&wrong))?;
    cx.agree()
}

fn removes_none(cx: &mut Cx) -> Outcome {
    let prime = cx.prime(Screen)?;
    let shared = cx.screen()?.plain(Fourcc::XR24, Modifier::LINEAR, SIZE)?;
    let taken = prime.import(&shared.dmabuf)?;
    let plain = taken.add_fb(&shared);
    let good = |_: &mut Cx| Ok(prime.add_framebuffer(&plain)?);
    refused(cx, "removing a framebuffer that there is not (DRM_IOCTL_MODE_RMFB)", &["ENOENT"], good, |_| {
        prime.remove_framebuffer(0x0fff_ffff)
    })?;
    cx.agree()
}

/// Refused when it is tried, and when it is sent; then the screen shows what it showed before.
fn refuses_commit(cx: &mut Cx, what: &str, wrong: BadCommit, valid: &str) -> Outcome {
    let size = cx.screen()?.size();
    let shared = cx.screen()?.plain(Fourcc::XR24, Modifier::LINEAR, size)?;
    let buffer = cx.udmabuf(Fourcc::XR24, SIZE, &[Guest::Screen])?;
    let target = Target::stamped(7, Fourcc::XR24, SIZE)?;
    cx.cpu_writes(&buffer, &target.picture)?;
    let layers = [(Layer::whole(&buffer), &target)];
    cx.screen_shows(&layers)?;
    if wrong == BadCommit::ModesetThatIsNotAllowed {
        // Else it would be refused for what it is.
        cx.screen()?.try_another_mode(&shared)?;
    }
    for tried in [true, false] {
        let good = |cx: &mut Cx| Ok(cx.screen()?.try_commit(&shared, None)?);
        let what = if tried { what.to_owned() } else { format!("{what}, sent,") };
        refused(cx, &what, &[valid], good, |cx| match cx.screen() {
            Ok(screen) if tried => screen.try_commit(&shared, Some(wrong)),
            Ok(screen) => screen.commit_wrong(&shared, wrong),
            // It was there a moment ago.
            Err(_) => Ok(()),
        })?;
        cx.screen_still_shows(&layers)?;
    }
    cx.agree()
}

/// `EBUSY`: a commit that is not to wait, while the one before has not reached the screen.
fn refuses_a_second(cx: &mut Cx) -> Outcome {
    /// More than a frame.
    const FRAMES: Duration = Duration::from_millis(40);
    let size = cx.screen()?.size();
    let frames = [(); 2].map(|()| cx.screen()?.plain(Fourcc::XR24, Modifier::LINEAR, size).map_err(Trouble::from));
    let [first, second] = frames;
    let (first, second) = (first?, second?);
    let pending = cx.pending_fence(FenceBy::SwSync, None)?;
    let layer = Layer { fence: Some(pending.file.as_fd()), ..Layer::whole(&first) };
    let mut sent = cx.screen()?.submit(&[layer], None)?;
    let flipped = sent.flipped(FRAMES)?;
    let answer = sent.followed_by(&second);
    pending.signal()?;
    let shown = sent.finish().map(drop).map_err(Trouble::from);
    // The same one works now.
    let shown = shown.and_then(|()| {
        let sent = cx.screen()?.submit(&[Layer::whole(&second)], None)?;
        Ok(sent.finish().map(drop)?)
    });
    cx.black_screen()?;
    shown?;
    cx.equals("the first commit has reached the screen before its fence", false, flipped);
    judge(cx, "a commit while one is under way", &["EBUSY"], answer);
    cx.agree()
}

/// `EACCES`: the card has one master, and it is another file.
fn refuses_others(cx: &mut Cx) -> Outcome {
    let size = cx.screen()?.size();
    let shared = cx.screen()?.plain(Fourcc::XR24, Modifier::LINEAR, size)?;
    let good = |cx: &mut Cx| Ok(cx.screen()?.try_commit(&shared, None)?);
    good(cx)?;
    let other = cx.prime(Screen)?.reopen()?;
    refused(cx, "a commit of who is not master", &["EACCES"], good, |_| other.commit_nothing())?;
    cx.agree()
}
