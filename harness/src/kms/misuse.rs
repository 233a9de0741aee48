//! Calls on a card that must be refused: handles that are none, framebuffers that can't be, commits that nobody could
//! show.
//!
//! Sources: `drivers/gpu/drm/drm_prime.c`, `drm_gem.c`, `drm_framebuffer.c`, `drm_atomic_uapi.c` and `drm_atomic.c` of
//! the kernel, and the documentation of `struct drm_mode_fb_cmd2`.
#![expect(unsafe_code, reason = "makes ioctls with wrong arguments")]

use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;

use drm::control::AtomicCommitFlags;
use rustix::ioctl::{Opcode, opcode};

use super::card::{Card, Framebuffer, Gem};
use super::commit::{Commit, own_fd};
use super::placed::Placed;
use super::prime::Prime;
use super::show::Pending;
use super::tried::is_refusal;
use super::{Blob, Screen, mode, size_of};
use crate::compose::Rect;
use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Refusal, Result};
use crate::frame::px;
use crate::restart::again;
use crate::{ioctl, stray};

/// What `DRM_IOCTL_MODE_ADDFB2` is told, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddFb {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The fourcc's number.
    pub format: u32,
    /// `DRM_MODE_FB_INTERLACED` is 1, `DRM_MODE_FB_MODIFIERS` is 2.
    pub flags: u32,
    /// GEM handles.
    pub handles: [u32; 4],
    /// In bytes.
    pub pitches: [u32; 4],
    /// In bytes.
    pub offsets: [u32; 4],
    /// Of each plane.
    pub modifiers: [u64; 4],
}

/// An atomic commit that must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCommit {
    /// More is shown of the framebuffer than it has.
    SourceOutsideTheFramebuffer,
    /// A framebuffer on a plane that is on no CRTC.
    FramebufferWithoutCrtc,
    /// A plane on a CRTC without a framebuffer.
    CrtcWithoutFramebuffer,
    /// A framebuffer of a number that there is not.
    UnknownFramebuffer,
    /// A fence that is no `sync_file`.
    FenceThatIsNone,
    /// Another mode without `DRM_MODE_ATOMIC_ALLOW_MODESET`.
    ModesetThatIsNotAllowed,
    /// A CRTC that is on, and has no mode.
    ActiveWithoutMode,
    /// A writeback into a framebuffer of another size than the picture's.
    WritebackOfAnotherSize,
    /// A fence of the writeback is to be put where nothing is mapped.
    WritebackFenceToNowhere,
    /// A fence of the writeback is to be put into memory that is only read.
    WritebackFenceToReadOnly,
    /// A fence of the commit is to be put where nothing is mapped.
    OutFenceToNowhere,
    /// A plane so far to the right that its other end has no number.
    PositionBeyondAll,
    /// A property of an object that there is not.
    UnknownObject,
    /// A property that there is not.
    UnknownProperty,
    /// A fence by a number that is no fd any more.
    ClosedFence,
    /// `DRM_MODE_ATOMIC_TEST_ONLY` with an event, which would never come.
    TestWithEvent,
    /// A flag that there is not.
    UnknownFlag,
}

/// A number that no object and no property of a card has.
const NOBODY: u32 = 0x0fff_ffff;

const FENCE_PTR: &str = "WRITEBACK_OUT_FENCE_PTR";

/// An address in the first page, which no process has.
const NOWHERE: u64 = 16;

/// What can't be written.
static READ_ONLY: i32 = -1;

/// `struct drm_prime_handle`.
#[repr(C)]
#[derive(Default)]
struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
}

/// `struct drm_gem_close`.
#[repr(C)]
#[derive(Default)]
struct GemClose {
    handle: u32,
    padding: u32,
}

const FD_TO_HANDLE: Opcode = opcode::read_write::<PrimeHandle>(b'd', 0x2e);
const HANDLE_TO_FD: Opcode = opcode::read_write::<PrimeHandle>(b'd', 0x2d);
const GEM_CLOSE: Opcode = opcode::write::<GemClose>(b'd', 0x09);

fn ask<T>(card: &Card, opcode: Opcode, argument: &mut T, op: &'static str, what: String) -> Result<()> {
    // SAFETY: all callers pass the structure of the number; the kernel checks what is in it.
    unsafe { ioctl::ask(card, opcode, argument) }.map_err(|errno| Error::new(op, format!("{card}, {what}"), errno))
}

impl Prime {
    /// Hands the number `fd` to the card, whatever it is, and closes the handle that comes of it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn import_number(&self, fd: RawFd) -> Result<()> {
        let mut argument = PrimeHandle { fd, ..Default::default() };
        ask(&self.0, FD_TO_HANDLE, &mut argument, "DRM_IOCTL_PRIME_FD_TO_HANDLE", format!("fd {fd}"))?;
        self.close_handle(argument.handle)
    }

    /// Has the card hand out `handle`, whatever it is, with `flags`.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn export_handle(&self, handle: u32, flags: u32) -> Result<Dmabuf> {
        let what = format!("GEM handle {handle}, flags {flags:#x}");
        let mut argument = PrimeHandle { handle, flags, fd: -1 };
        ask(&self.0, HANDLE_TO_FD, &mut argument, "DRM_IOCTL_PRIME_HANDLE_TO_FD", what)?;
        Dmabuf::from_fd(own_fd(argument.fd)?)
    }

    /// Closes `handle`, whatever it is.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn close_handle(&self, handle: u32) -> Result<()> {
        let mut argument = GemClose { handle, ..Default::default() };
        ask(&self.0, GEM_CLOSE, &mut argument, "DRM_IOCTL_GEM_CLOSE", format!("GEM handle {handle}"))
    }

    /// Has the card make a framebuffer, and removes it again.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn add_framebuffer(&self, wanted: &AddFb) -> Result<()> {
        let AddFb { width, height, format, flags, handles, pitches, offsets, modifiers } = wanted;
        let card = &self.0;
        let object = || format!("{card}, {wanted:?}");
        let fd = card.as_fd();
        let add = || drm_ffi::mode::add_fb2(fd, *width, *height, *format, handles, pitches, offsets, modifiers, *flags);
        let added = again(add).map_err(|error| Error::new("DRM_IOCTL_MODE_ADDFB2", object(), error))?;
        again(|| drm_ffi::mode::rm_fb(fd, added.fb_id))
            .map_err(|error| Error::new("DRM_IOCTL_MODE_RMFB", object(), error))
    }

    /// Removes the framebuffer of number `id`, whatever it is.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn remove_framebuffer(&self, id: u32) -> Result<()> {
        let object = format!("{}, framebuffer {id}", self.0);
        again(|| drm_ffi::mode::rm_fb(self.0.as_fd(), id))
            .map_err(|error| Error::new("DRM_IOCTL_MODE_RMFB", object, error))
    }

    /// The node, opened once more.
    ///
    /// # Errors
    /// We may not.
    pub fn reopen(&self) -> Result<Self> {
        Self::open(&self.0.path)
    }
}

impl Prime {
    /// A commit that sets nothing, by a file of the card that is not its master.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn commit_nothing(&self) -> Result<()> {
        Commit::new(&self.0).carry_out_now().send_once("nothing, by who is not master")
    }
}

impl Pending<'_> {
    /// Sends a commit that shows `shared` while this one may be under way. One that is taken is not waited for.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn followed_by(&mut self, shared: &SharedFrame) -> Result<()> {
        let Screen { card, pipe, .. } = &*self.screen;
        let framebuffer = Framebuffer::new(card, shared)?;
        let mut commit = Commit::new(card);
        let crop = Rect::whole(shared.frame.size);
        let placed = Placed { plane: 0, framebuffer: framebuffer.id, crop, at: (0, 0), colours: None };
        let Some((_, plane)) = pipe.planes.first() else {
            return Err(Error::missing("choosing a plane", card.to_string(), "it has none"));
        };
        commit.place(plane, u32::from(pipe.crtc.handle).into(), &placed)?;
        commit.send_once("while another is under way")
    }
}

impl Screen {
    /// Asks whether the screen would carry out a commit that shows `shared` and is wrong in one thing, or in none.
    /// Nothing changes.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn try_commit(&mut self, shared: &SharedFrame, wrong: Option<BadCommit>) -> Result<()> {
        self.ask(shared, wrong, true)
    }

    /// Has the screen carry out a commit that shows `shared` and is wrong in one thing.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn commit_wrong(&mut self, shared: &SharedFrame, wrong: BadCommit) -> Result<()> {
        self.ask(shared, Some(wrong), false)
    }

    /// Asks whether the screen could show `shared` in another mode, if it were allowed to set one.
    ///
    /// # Errors
    /// It can't, as any screen may not ([`Refusal::Allowed`]); or it can't be asked.
    pub fn try_another_mode(&mut self, shared: &SharedFrame) -> Result<()> {
        self.resize(self.size())?;
        let framebuffer = self.framebuffer(shared)?;
        let crop = Rect::whole(shared.frame.size);
        let placed = Placed { plane: 0, framebuffer: framebuffer.id, crop, at: (0, 0), colours: None };
        self.another_mode(&placed).map(drop)
    }

    /// Another mode than the one that is set, in which the driver would show `placed`.
    fn another_mode(&self, placed: &Placed) -> Result<Blob> {
        let card = &self.card;
        if self.is_vkms() {
            return Blob::new(card, &mode::timings(px(self.size.width + 16, self.size.height + 16)));
        }
        // One that differs in its timings alone may need no setting of a mode.
        let others = self.pipe.modes.iter().filter(|mode| size_of(mode) != self.size);
        for mode in others {
            let mode = Blob::new(card, &drm_ffi::drm_mode_modeinfo::from(*mode))?;
            let mut commit = Commit::new(card);
            if let Some((_, plane)) = self.pipe.planes.first() {
                commit.place(plane, u32::from(self.pipe.crtc.handle).into(), placed)?;
            }
            commit.set(&self.pipe.crtc, "MODE_ID", mode.id)?.allow_modeset();
            match commit.try_out("another mode") {
                Ok(()) => return Ok(mode),
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let why = "it shows such a frame in none of its other modes";
        Err(Error::refused("choosing another mode", card.to_string(), why, Refusal::Allowed))
    }

    fn ask(&mut self, shared: &SharedFrame, wrong: Option<BadCommit>, tried: bool) -> Result<()> {
        self.resize(self.size())?;
        let card: &Arc<Card> = &self.card;
        let framebuffer = self.framebuffer(shared)?;
        let size = shared.frame.size;
        let crtc = u64::from(u32::from(self.pipe.crtc.handle));
        let Some((_, plane)) = self.pipe.planes.first() else {
            return Err(Error::missing("choosing a plane", card.to_string(), "it has none"));
        };
        let placed =
            Placed { plane: 0, framebuffer: framebuffer.id, crop: Rect::whole(size), at: (0, 0), colours: None };
        let mut commit = Commit::new(card);
        commit.place(plane, crtc, &placed)?;
        // What lives until the kernel was asked.
        let mut target = None;
        let mut blob = None;
        let fence = stray::Stray::Eventfd.open()?;
        let closed = stray::Stray::Closed.open()?;
        match wrong {
            None => {}
            Some(BadCommit::SourceOutsideTheFramebuffer) => {
                commit.set(plane, "SRC_X", u64::from(size.width) << 16)?;
            }
            Some(BadCommit::FramebufferWithoutCrtc) => {
                commit.set(plane, "CRTC_ID", 0)?;
            }
            Some(BadCommit::CrtcWithoutFramebuffer) => {
                commit.set(plane, "FB_ID", 0)?;
            }
            Some(BadCommit::UnknownFramebuffer) => {
                commit.set(plane, "FB_ID", NOBODY.into())?;
            }
            Some(BadCommit::FenceThatIsNone) => {
                commit.set(plane, "IN_FENCE_FD", fence.number() as u64)?;
            }
            Some(BadCommit::ModesetThatIsNotAllowed) => {
                let mode = blob.insert(self.another_mode(&placed)?);
                commit.set(&self.pipe.crtc, "MODE_ID", mode.id)?;
            }
            Some(BadCommit::ActiveWithoutMode) => {
                commit.set(&self.pipe.crtc, "MODE_ID", 0)?.set(&self.pipe.crtc, "ACTIVE", 1)?;
                commit.allow_modeset();
            }
            Some(
                wrong @ (BadCommit::WritebackOfAnotherSize
                | BadCommit::WritebackFenceToNowhere
                | BadCommit::WritebackFenceToReadOnly),
            ) => {
                let Some((connector, formats)) = &self.pipe.writeback else {
                    return Err(Error::missing("writing back", card.to_string(), "it has no writeback connector"));
                };
                let size = match wrong {
                    BadCommit::WritebackOfAnotherSize => px(self.size.width / 2, self.size.height / 2),
                    _ => self.size,
                };
                let first = || Error::answer("writing back", card.to_string(), "no format, at least one was due");
                let made = card.dumb(*formats.first().ok_or_else(first)?, size)?;
                let framebuffer = target.insert(Framebuffer::new(card, &made)?);
                commit.set(connector, "WRITEBACK_FB_ID", u64::from(framebuffer.id))?;
                match wrong {
                    BadCommit::WritebackFenceToNowhere => _ = commit.set(connector, FENCE_PTR, NOWHERE)?,
                    BadCommit::WritebackFenceToReadOnly => {
                        _ = commit.set(connector, FENCE_PTR, (&raw const READ_ONLY).expose_provenance() as u64)?;
                    }
                    _ => {}
                }
            }
            Some(BadCommit::OutFenceToNowhere) => {
                commit.set(&self.pipe.crtc, "OUT_FENCE_PTR", NOWHERE)?;
            }
            Some(BadCommit::PositionBeyondAll) => {
                commit.set(plane, "CRTC_X", i32::MAX as u64)?;
            }
            Some(BadCommit::UnknownObject) => {
                commit.set_number(NOBODY, plane.property("FB_ID")?.into(), 0)?;
            }
            Some(BadCommit::UnknownProperty) => {
                commit.set_number(plane.handle.into(), NOBODY, 0)?;
            }
            Some(BadCommit::ClosedFence) => {
                commit.set(plane, "IN_FENCE_FD", closed.number() as u64)?;
            }
            Some(BadCommit::TestWithEvent) => {
                commit.with_flags(AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::PAGE_FLIP_EVENT);
            }
            Some(BadCommit::UnknownFlag) => {
                commit.with_flags(AtomicCommitFlags::from_bits_retain(AtomicCommitFlags::TEST_ONLY.bits() | 0x80));
            }
        }
        let what = format!("{wrong:?}");
        match wrong {
            Some(BadCommit::TestWithEvent | BadCommit::UnknownFlag) => commit.send_once(&what),
            _ if tried => commit.try_out(&what),
            _ => commit.send_once(&what),
        }
    }
}

impl Gem {
    /// What `DRM_IOCTL_MODE_ADDFB2` is told of a frame in this handle, in order.
    pub(super) fn add_fb(&self, shared: &SharedFrame) -> AddFb {
        let frame = &shared.frame;
        let mut wanted = AddFb {
            width: frame.size.width,
            height: frame.size.height,
            format: frame.fourcc.0,
            flags: if self.card().is_told(frame.modifier) { drm_ffi::DRM_MODE_FB_MODIFIERS } else { 0 },
            handles: [0; 4],
            pitches: [0; 4],
            offsets: [0; 4],
            modifiers: [0; 4],
        };
        for (n, plane) in frame.planes.iter().enumerate().take(4) {
            wanted.handles[n] = self.handle();
            wanted.pitches[n] = plane.pitch as u32;
            wanted.offsets[n] = plane.offset as u32;
            wanted.modifiers[n] = frame.modifier.0;
        }
        wanted
    }
}

impl super::Imported {
    /// What `DRM_IOCTL_MODE_ADDFB2` is told of a frame in this handle, in order: to be changed for the worse.
    pub fn add_fb(&self, shared: &SharedFrame) -> AddFb {
        self.0.add_fb(shared)
    }
}
