//! vkms: is a writeback lost when the next one is committed soon after?
//!
//! Commits pairs of writeback jobs, the second when the first is on the screen, and waits for the fences of both. Once a job is
//! lost, every later one signals the fence of the one before, until reboot. Needs vkms with writeback, and nobody else
//! who is master of it.
//!
//! Exit status: 0 the defect is there, 1 it is not, 2 it could not be tried.
//!
//! Run it with `rust-script FILE`, or as `src/main.rs` of a package with
//!
//! ```cargo
//! [dependencies]
//! drm = "0.15"
//! libc = "0.2"
//! ```
#![allow(unsafe_code, reason = "calls the kernel")]

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use drm::buffer::DrmFourcc;
use drm::control::atomic::AtomicModeReq;
use drm::control::{self, AtomicCommitFlags, Device as _, ResourceHandle, connector, framebuffer, property};
use drm::{ClientCapability, Device as _};

/// Pairs of jobs; it ends with the first loss.
const PAIRS: u32 = 200;

/// So long a fence may take, in ms. A frame takes 16.
const PATIENCE: i32 = 1000;

fn main() -> ExitCode {
    let (said, status) = match try_it() {
        Ok(true) => ("the defect is there".to_owned(), 0),
        Ok(false) => ("the defect is not there".to_owned(), 1),
        Err(why) => (format!("it could not be tried: {why}"), 2),
    };
    println!("{said}");
    ExitCode::from(status)
}

fn try_it() -> Result<bool, Box<dyn Error>> {
    let card = Card::vkms()?;
    let pipe = Pipe::of(&card)?;
    let buffer = || -> io::Result<framebuffer::Handle> {
        card.add_framebuffer(&card.create_dumb_buffer(pipe.size(), DrmFourcc::Xrgb8888, 32)?, 24, 32)
    };
    let (black, targets) = (buffer()?, [buffer()?, buffer()?]);
    let mut request = AtomicModeReq::new();
    pipe.light(&card, &mut request, black, pipe.size())?;
    // The connector's CRTC is part of the mode.
    card.set(&mut request, pipe.writeback, "CRTC_ID", u32::from(pipe.crtc).into())?;
    card.atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request)?;
    for pair in 0..PAIRS {
        let fences = [job(&card, &pipe, targets[0])?, job(&card, &pipe, targets[1])?];
        for (n, fence) in fences.iter().enumerate() {
            if !readable(fence.as_raw_fd(), PATIENCE)? {
                let number = 2 * pair as usize + n + 1;
                println!("the fence of writeback job {number} did not signal within {PATIENCE} ms");
                return Ok(true);
            }
        }
    }
    println!("the fences of all {} writeback jobs signalled", 2 * PAIRS);
    Ok(false)
}

/// Commits one job, waits until it is on the screen, and returns its fence.
fn job(card: &Card, pipe: &Pipe, target: framebuffer::Handle) -> Result<OwnedFd, Box<dyn Error>> {
    let mut request = AtomicModeReq::new();
    let mut fence = -1;
    pipe.write_back(card, &mut request, target, &mut fence)?;
    card.atomic_commit(AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT, request)?;
    if fence < 0 {
        return Err(format!("WRITEBACK_OUT_FENCE_PTR got {fence}").into());
    }
    // SAFETY: the commit succeeded, so this descriptor is new and ours.
    let fence = unsafe { OwnedFd::from_raw_fd(fence) };
    if !readable(card.as_fd().as_raw_fd(), PATIENCE)? {
        return Err("no page-flip event".into());
    }
    card.receive_events()?;
    Ok(fence)
}

/// A card node.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Card {}
impl control::Device for Card {}

impl Card {
    /// The vkms card, with us as its master.
    fn vkms() -> Result<Self, Box<dyn Error>> {
        for entry in std::fs::read_dir("/dev/dri")?.flatten() {
            if !entry.file_name().to_string_lossy().starts_with("card") {
                continue;
            }
            let Ok(node) = File::options().read(true).write(true).open(entry.path()) else { continue };
            let card = Self(node);
            if card.get_driver()?.name() == "vkms" {
                for capability in
                    [ClientCapability::UniversalPlanes, ClientCapability::Atomic, ClientCapability::WritebackConnectors]
                {
                    card.set_client_capability(capability, true)?;
                }
                println!("{}", entry.path().display());
                return Ok(card);
            }
        }
        Err("no card of /dev/dri has the driver vkms".into())
    }

    /// The id of a property.
    fn property<T: ResourceHandle>(&self, object: T, name: &str) -> Result<property::Handle, Box<dyn Error>> {
        for (id, _) in self.get_properties(object)? {
            if self.get_property(id)?.name().to_bytes() == name.as_bytes() {
                return Ok(id);
            }
        }
        Err(format!("there is no property {name}").into())
    }

    /// Sets a property of an object with `request`.
    fn set<T>(&self, request: &mut AtomicModeReq, object: T, name: &str, value: u64) -> Result<(), Box<dyn Error>>
    where
        T: ResourceHandle,
    {
        request.add_raw_property(object.into(), self.property(object, name)?, value);
        Ok(())
    }
}

/// What is needed of a card: its first CRTC, with the primary plane, the display and the writeback connector.
struct Pipe {
    crtc: control::crtc::Handle,
    plane: control::plane::Handle,
    display: connector::Info,
    writeback: connector::Handle,
}

impl Pipe {
    fn of(card: &Card) -> Result<Self, Box<dyn Error>> {
        let resources = card.resource_handles()?;
        let crtc = *resources.crtcs().first().ok_or("no CRTC")?;
        let mut primary = None;
        for plane in card.plane_handles()? {
            let reaches = resources.filter_crtcs(card.get_plane(plane)?.possible_crtcs()).contains(&crtc);
            let kind = card.property(plane, "type")?;
            // DRM_PLANE_TYPE_PRIMARY is 1.
            if reaches && card.get_properties(plane)?.into_iter().any(|(id, value)| id == kind && value == 1) {
                primary = primary.or(Some(plane));
            }
        }
        let (mut display, mut writeback) = (None, None);
        for &handle in resources.connectors() {
            let info = card.get_connector(handle, true)?;
            match info.interface() {
                connector::Interface::Writeback => writeback = writeback.or(Some(handle)),
                _ if !info.modes().is_empty() => display = display.or(Some(info)),
                _ => {}
            }
        }
        Ok(Self {
            crtc,
            plane: primary.ok_or("no primary plane")?,
            display: display.ok_or("no display")?,
            writeback: writeback.ok_or("no writeback connector; load vkms with enable_writeback=1")?,
        })
    }

    /// The size of the display's first mode.
    fn size(&self) -> (u32, u32) {
        let (width, height) = self.display.modes()[0].size();
        (width.into(), height.into())
    }

    /// Has `request` set the first mode, and show `framebuffer` of `size` at the top left.
    fn light(
        &self,
        card: &Card,
        request: &mut AtomicModeReq,
        framebuffer: framebuffer::Handle,
        size: (u32, u32),
    ) -> Result<(), Box<dyn Error>> {
        let crtc = u64::from(u32::from(self.crtc));
        let mode = card.create_property_blob(&self.display.modes()[0])?;
        card.set(request, self.crtc, "MODE_ID", mode.into())?;
        card.set(request, self.crtc, "ACTIVE", 1)?;
        card.set(request, self.display.handle(), "CRTC_ID", crtc)?;
        let (width, height) = (u64::from(size.0), u64::from(size.1));
        for (name, value) in [
            ("FB_ID", u32::from(framebuffer).into()),
            ("CRTC_ID", crtc),
            ("SRC_X", 0),
            ("SRC_Y", 0),
            ("SRC_W", width << 16),
            ("SRC_H", height << 16),
            ("CRTC_X", 0),
            ("CRTC_Y", 0),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ] {
            card.set(request, self.plane, name, value)?;
        }
        Ok(())
    }

    /// Has `request` write back into `framebuffer`, and the kernel put the fence of that into `fence`.
    fn write_back(
        &self,
        card: &Card,
        request: &mut AtomicModeReq,
        framebuffer: framebuffer::Handle,
        fence: &mut i32,
    ) -> Result<(), Box<dyn Error>> {
        let address = std::ptr::from_mut(fence).expose_provenance() as u64;
        card.set(request, self.writeback, "CRTC_ID", u32::from(self.crtc).into())?;
        card.set(request, self.writeback, "WRITEBACK_FB_ID", u32::from(framebuffer).into())?;
        card.set(request, self.writeback, "WRITEBACK_OUT_FENCE_PTR", address)
    }
}

/// Whether there is something to read from `fd` within `milliseconds`; of a fence, whether it signals.
fn readable(fd: i32, milliseconds: i32) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the structure lives until the call returns.
    match unsafe { libc::poll(&mut asked, 1, milliseconds) } {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(false),
        _ => Ok(true),
    }
}
