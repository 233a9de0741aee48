#![expect(unsafe_code, reason = "calls libgbm, and copies pixels out of and into what it maps")]
//! A buffer object of GBM: made or taken in, asked where its planes lie, handed out, looked at and drawn to.
//!
//! `gbm_bo_map` is how GBM itself sees a buffer, by the driver's own idea of its layout. Nothing of the harness's addressing is
//! in there.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use super::functions::{BufferObject, ImportFdModifier, clear_errno};
use super::{Gbm, Usage};
use crate::dmabuf::{Dmabuf, SharedFrame, SharedPlanes, SplitFrame};
use crate::error::{Cause, Error, Result};
use crate::format::{Fourcc, Modifier};
use crate::frame::{Frame, Plane, Size};
use crate::ledger;
use crate::picture::Picture;

/// The call that takes in.
const IMPORT: &str = "gbm_bo_import(GBM_BO_IMPORT_FD_MODIFIER)";

/// The call that hands a plane out.
const FD_FOR_PLANE: &str = "gbm_bo_get_fd_for_plane";

/// Why a buffer stays, if [`Gbm::keeps_what_it_took_in`].
pub(crate) const KEPT: &str = "a GEM handle of a render node that GBM does not close";

/// `GBM_BO_IMPORT_FD_MODIFIER`.
const IMPORT_FD_MODIFIER: u32 = 0x5504;
/// `GBM_BO_TRANSFER_READ` and `_WRITE`.
const TRANSFER_READ: u32 = 1;
const TRANSFER_WRITE: u32 = 2;

/// Which function makes a buffer, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// `gbm_bo_create`: the driver chooses a layout that suits the use.
    Plain(Usage),
    /// `gbm_bo_create_with_modifiers`: one of these.
    Modifiers(Vec<Modifier>),
    /// `gbm_bo_create_with_modifiers2`: one of these, that suits the use.
    ModifiersFor(Vec<Modifier>, Usage),
}

impl How {
    /// Which modifiers the driver may choose; `None` if any.
    fn modifiers(&self) -> Option<&[Modifier]> {
        match self {
            Self::Plain(_) => None,
            Self::Modifiers(modifiers) | Self::ModifiersFor(modifiers, _) => Some(modifiers),
        }
    }

    fn op(&self) -> &'static str {
        match self {
            Self::Plain(_) => "gbm_bo_create",
            Self::Modifiers(_) => "gbm_bo_create_with_modifiers",
            Self::ModifiersFor(..) => "gbm_bo_create_with_modifiers2",
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(usage) => write!(f, "for {usage}"),
            Self::Modifiers(modifiers) => write!(f, "with {modifiers:?}"),
            Self::ModifiersFor(modifiers, usage) => write!(f, "with {modifiers:?} for {usage}"),
        }
    }
}

/// A buffer object. It keeps its device.
pub struct Bo {
    raw: NonNull<c_void>,
    frame: Frame,
    gbm: Gbm,
}

impl Gbm {
    /// A buffer of the driver's own.
    ///
    /// # Errors
    /// The driver refuses, or answers what no driver may answer about what it made.
    pub fn create(&self, fourcc: Fourcc, size: Size, how: &How) -> Result<Bo> {
        let object = || self.object(format!("{fourcc} {size} {how}"));
        let (functions, Size { width, height }) = (self.0.functions, size);
        let codes = |modifiers: &[Modifier]| modifiers.iter().map(|modifier| modifier.0).collect::<Vec<u64>>();
        let device = self.lock();
        let raw = match how {
            How::Plain(usage) => {
                // SAFETY: the device is live, and ours alone while it is locked; here and below.
                answered(|| unsafe { (functions.create)(device.as_ptr(), width, height, fourcc.0, usage.0) })
            }
            How::Modifiers(modifiers) => {
                let (codes, create) = (codes(modifiers), functions.create_with_modifiers);
                let (list, count) = (codes.as_ptr(), codes.len() as u32);
                // SAFETY: as above; the list has as many entries as it is said to have.
                answered(|| unsafe { create(device.as_ptr(), width, height, fourcc.0, list, count) })
            }
            How::ModifiersFor(modifiers, usage) => {
                let Some(create) = functions.create_for else {
                    return Err(Error::missing(how.op(), object(), "this libgbm is too old to have it"));
                };
                let codes = codes(modifiers);
                let (list, count) = (codes.as_ptr(), codes.len() as u32);
                // SAFETY: as above.
                answered(|| unsafe { create(device.as_ptr(), width, height, fourcc.0, list, count, usage.0) })
            }
        };
        drop(device);
        ledger::step(how.op(), None, size);
        let bo = Bo::new(self, raw.map_err(|cause| Error::new(how.op(), object(), cause))?, size)?;
        match (how.modifiers(), bo.frame.modifier) {
            // It need not know what it has made.
            (None, _) | (_, Modifier::INVALID) => Ok(bo),
            (Some(asked), told) if asked.contains(&told) => Ok(bo),
            (Some(asked), told) => {
                let why = format!("modifier {told}; one of {asked:?} would be valid");
                Err(Error::answer("gbm_bo_get_modifier", object(), why))
            }
        }
    }

    /// Takes in `shared`, by `GBM_BO_IMPORT_FD_MODIFIER`. GBM takes no fd: it keeps none of the caller's.
    ///
    /// # Errors
    /// A number does not fit into GBM's structure, or the driver refuses.
    pub fn import(&self, shared: &impl SharedPlanes, usage: Usage) -> Result<Bo> {
        const OP: &str = IMPORT;
        let Frame { size, fourcc, modifier, planes } = shared.frame();
        let object = || self.object(format!("{shared}, for {usage}"));
        let mut data = ImportFdModifier {
            width: size.width,
            height: size.height,
            format: fourcc.0,
            num_fds: planes.len() as u32,
            fds: [-1; 4],
            strides: [0; 4],
            offsets: [0; 4],
            modifier: modifier.0,
        };
        if planes.is_empty() || planes.len() > data.fds.len() {
            let why = format!("{} planes; 1 to {} would be valid", planes.len(), data.fds.len());
            return Err(Error::input(OP, object(), why));
        }
        let number = |name: &str, value: u64| {
            c_int::try_from(value).map_err(|_| {
                Error::input(OP, object(), format!("{name} of {value} B; at most {} B would fit", c_int::MAX))
            })
        };
        for (n, plane) in planes.iter().enumerate() {
            data.fds[n] = shared.dmabuf_of(n).fd.as_raw_fd();
            data.strides[n] = number("a pitch", plane.pitch)?;
            data.offsets[n] = number("an offset", plane.offset)?;
        }
        let device = self.lock();
        let (import, data) = (self.0.functions.import, (&raw mut data).cast());
        // SAFETY: the device is live, and ours alone while it is locked; the structure is that of this type of import, and
        // its fds are open until the call returns.
        let raw = answered(|| unsafe { import(device.as_ptr(), IMPORT_FD_MODIFIER, data, usage.0) });
        drop(device);
        ledger::step(OP, Some(shared.dmabuf_of(0).inode()), "");
        if self.keeps_what_it_took_in() && raw.is_ok() {
            (0..planes.len()).for_each(|n| ledger::excuse(shared.dmabuf_of(n).inode(), KEPT));
        }
        Bo::new(self, raw.map_err(|cause| Error::new(OP, object(), cause))?, *size)
    }
}

/// What `gbm_bo_import` is told, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedImport {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The fourcc's number.
    pub format: u32,
    /// How many planes.
    pub num_fds: u32,
    /// Of each plane.
    pub fds: [c_int; 4],
    /// In bytes.
    pub strides: [c_int; 4],
    /// In bytes.
    pub offsets: [c_int; 4],
    /// The modifier's number.
    pub modifier: u64,
}

impl AskedImport {
    /// What is told of a frame of one plane, in order: to be changed for the worse.
    pub fn of(shared: &SharedFrame) -> Self {
        let plane = shared.frame.planes.first().copied().unwrap_or(Plane { offset: 0, pitch: 0 });
        Self {
            width: shared.frame.size.width,
            height: shared.frame.size.height,
            format: shared.frame.fourcc.0,
            num_fds: 1,
            fds: [shared.dmabuf.fd.as_raw_fd(), -1, -1, -1],
            strides: [plane.pitch as c_int, 0, 0, 0],
            offsets: [plane.offset as c_int, 0, 0, 0],
            modifier: shared.frame.modifier.0,
        }
    }
}

impl Gbm {
    /// Has GBM take in what is `asked`, whatever that is, and lets go of it.
    ///
    /// # Errors
    /// The driver's answer.
    pub fn try_import(&self, asked: &AskedImport) -> Result<()> {
        let AskedImport { width, height, format, num_fds, fds, strides, offsets, modifier } = *asked;
        let mut data = ImportFdModifier { width, height, format, num_fds, fds, strides, offsets, modifier };
        let device = self.lock();
        let (import, destroy, data) = (self.0.functions.import, self.0.functions.destroy, (&raw mut data).cast());
        // SAFETY: the device is live, and ours alone while it is locked; the structure is that of this type of import.
        let raw = answered(|| unsafe { import(device.as_ptr(), IMPORT_FD_MODIFIER, data, 0) });
        let taken = raw.map_err(|cause| Error::new(IMPORT, self.object(format!("{asked:?}")), cause))?;
        // SAFETY: made just now, and nobody else has it.
        unsafe { destroy(taken.as_ptr()) };
        Ok(())
    }
}

/// What `call` returns, or the errno that it left.
fn answered(call: impl FnOnce() -> BufferObject) -> Result<NonNull<c_void>, Cause> {
    clear_errno();
    NonNull::new(call()).ok_or_else(left_errno)
}

/// The errno that the call before left.
fn left_errno() -> Cause {
    match std::io::Error::last_os_error() {
        error if error.raw_os_error() == Some(0) => Cause::Code(NO_ERRNO.to_owned()),
        error => error.into(),
    }
}

/// What a refusal says that did not set errno.
const NO_ERRNO: &str = "no errno is set";

impl Bo {
    /// `raw`, asked where its planes lie.
    fn new(gbm: &Gbm, raw: NonNull<c_void>, size: Size) -> Result<Self> {
        let frame = Frame { size, fourcc: Fourcc(0), modifier: Modifier::INVALID, planes: Vec::new() };
        let mut bo = Self { raw, frame, gbm: gbm.clone() };
        let functions = gbm.0.functions;
        let _device = gbm.lock();
        let raw = raw.as_ptr();
        // SAFETY: the buffer is live, and its device ours alone; here and below.
        bo.frame.fourcc = Fourcc(unsafe { (functions.format)(raw) });
        // SAFETY: as above.
        bo.frame.modifier = Modifier(unsafe { (functions.modifier)(raw) });
        // SAFETY: as above.
        let count = unsafe { (functions.plane_count)(raw) };
        if !(1..=4).contains(&count) {
            let object = gbm.object(format!("{} {size}", bo.frame.fourcc));
            let why = format!("{count} planes; 1 to 4 would be valid");
            let like = "an answer that was never filled in, or an error that is taken for one";
            return Err(Error::answer("gbm_bo_get_plane_count", object, why).like(like));
        }
        for plane in 0..count {
            // SAFETY: as above, for a plane that it has.
            let offset = unsafe { (functions.offset)(raw, plane) };
            // SAFETY: as above.
            let pitch = unsafe { (functions.stride)(raw, plane) };
            bo.frame.planes.push(Plane { offset: offset.into(), pitch: pitch.into() });
        }
        Ok(bo)
    }

    /// Format, modifier, and where the planes lie, as the driver tells.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// Hands the buffer out, where the driver says that it lies.
    ///
    /// # Errors
    /// The driver refuses; its planes are in different dma-bufs, which a frame can't say here; or the frame does not lie in
    /// the dma-buf.
    pub fn export(&self) -> Result<SharedFrame> {
        let first = self.fd_of(0)?;
        for plane in 1..self.frame.planes.len() {
            if self.fd_of(plane)?.inode() != first.inode() {
                let why = format!("plane {plane} is in another dma-buf than plane 0, and frames are in one here");
                return Err(Error::missing(FD_FOR_PLANE, self.object(&self.frame), why));
            }
        }
        let shared = SharedFrame { dmabuf: first, frame: self.frame.clone() };
        shared.check().map_err(|error| self.laid(error))?;
        Ok(shared)
    }

    /// Hands each plane out by itself, where the driver says that it lies.
    ///
    /// # Errors
    /// The driver refuses; the frame is not LINEAR in a known format, or a plane does not lie in its dma-buf.
    pub fn export_planes(&self) -> Result<SplitFrame> {
        let dmabufs = (0..self.frame.planes.len()).map(|plane| self.fd_of(plane)).collect::<Result<_>>()?;
        SplitFrame::new(self.frame.clone(), dmabufs).map_err(|error| self.laid(error))
    }

    /// `error` is about where the planes lie: that was GBM's answer.
    fn laid(&self, error: Error) -> Error {
        const OP: &str = "gbm_bo_get_stride_for_plane and gbm_bo_get_offset";
        let like = "a pitch or an offset that is not the one that the buffer was made with";
        Error::answer(OP, self.object(error.object), error.cause.to_string()).like(like)
    }

    /// The dma-buf of one of its planes.
    fn fd_of(&self, plane: usize) -> Result<Dmabuf> {
        let Some(fd_for_plane) = self.gbm.0.functions.fd_for_plane else {
            return Err(Error::missing(FD_FOR_PLANE, self.object(&self.frame), "this libgbm is too old to have it"));
        };
        // SAFETY: the buffer is live, and its device ours alone while it is locked.
        self.fd(FD_FOR_PLANE, |raw| unsafe { fd_for_plane(raw, plane as c_int) })
    }

    /// Hands the buffer out as bytes, without saying what lies where.
    ///
    /// # Errors
    /// The driver refuses.
    pub(super) fn export_bytes(&self) -> Result<Dmabuf> {
        let fd = self.gbm.0.functions.fd;
        // SAFETY: the buffer is live, and its device ours alone while it is locked.
        self.fd("gbm_bo_get_fd", |raw| unsafe { fd(raw) })
    }

    /// The dma-buf whose fd `call` returns.
    fn fd(&self, op: &'static str, call: impl FnOnce(BufferObject) -> c_int) -> Result<Dmabuf> {
        let device = self.gbm.lock();
        clear_errno();
        let fd = call(self.raw.as_ptr());
        if fd < 0 {
            return Err(Error::new(op, self.object(&self.frame), left_errno()));
        }
        drop(device);
        // SAFETY: each successful call makes a new fd that belongs to the caller.
        let dmabuf = Dmabuf::from_fd(unsafe { OwnedFd::from_raw_fd(fd) });
        // A file that is no dma-buf is this call's wrong answer.
        let dmabuf = dmabuf.map_err(|error| Error { op: op.into(), object: self.object(&self.frame), ..error })?;
        ledger::step(op, Some(dmabuf.inode()), format_args!("{} B", dmabuf.size));
        Ok(dmabuf)
    }

    /// The pixels as GBM maps them.
    ///
    /// # Errors
    /// The format is not packed RGB, or the driver refuses.
    pub fn read(&self) -> Result<Picture> {
        let row = self.row()?;
        let mut bytes = vec![0; row * self.frame.size.height as usize];
        self.mapped(TRANSFER_READ, row, |start, stride| {
            for (y, to) in bytes.chunks_exact_mut(row.max(1)).enumerate() {
                // SAFETY: row `y` of a mapping whose rows are `stride` bytes apart.
                let from = unsafe { start.add(y * stride) };
                // SAFETY: the row has `row` bytes, and `to` is private memory of the same length.
                unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), row) };
            }
        })?;
        Ok(Picture { size: self.frame.size, fourcc: self.frame.fourcc, bytes })
    }

    /// Writes `picture` through GBM's mapping.
    ///
    /// # Errors
    /// As [`Self::read`]; also if size or format of the picture are not the buffer's.
    pub fn write(&self, picture: &Picture) -> Result<()> {
        let row = self.row()?;
        if (picture.size, picture.fourcc) != (self.frame.size, self.frame.fourcc) {
            let why = format!("the picture is {} {}", picture.fourcc, picture.size);
            return Err(Error::input("writing pixels", self.object(&self.frame), why));
        }
        self.mapped(TRANSFER_WRITE, row, |start, stride| {
            for (y, from) in picture.bytes.chunks_exact(row.max(1)).enumerate() {
                // SAFETY: row `y` of a mapping whose rows are `stride` bytes apart.
                let to = unsafe { start.add(y * stride) };
                // SAFETY: the row has `row` bytes, and `from` is private memory of the same length.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, row) };
            }
        })
    }

    /// Bytes of a row of pixels.
    fn row(&self) -> Result<usize> {
        let Some(pixel) = self.frame.fourcc.pixel() else {
            let why = format!("{} is not a packed RGB format known here", self.frame.fourcc);
            return Err(Error::input("gbm_bo_map", self.object(&self.frame), why));
        };
        Ok(self.frame.size.width as usize * pixel.bytes as usize)
    }

    /// Maps the whole buffer while `work` copies: it gets the first pixel, and the bytes from one row to the next.
    fn mapped(&self, access: u32, row: usize, work: impl FnOnce(*mut u8, usize)) -> Result<()> {
        const OP: &str = "gbm_bo_map";
        let Size { width, height } = self.frame.size;
        let functions = self.gbm.0.functions;
        let _device = self.gbm.lock();
        let (mut stride, mut cookie) = (0, std::ptr::null_mut());
        let (raw, to) = (self.raw.as_ptr(), (&raw mut stride, &raw mut cookie));
        // SAFETY: the buffer is live, and its device ours alone while it is locked; both answers have room.
        let start = answered(|| unsafe { (functions.map)(raw, 0, 0, width, height, access, to.0, to.1) })
            .map_err(|cause| Error::new(OP, self.object(&self.frame), cause))?;
        let stride = stride as usize;
        let mapped = match stride >= row {
            true => {
                work(start.as_ptr().cast(), stride);
                Ok(())
            }
            false => {
                let why = format!("rows {stride} B apart; at least {row} B would be valid");
                Err(Error::answer(OP, self.object(&self.frame), why))
            }
        };
        // SAFETY: mapped by the call above, and unmapped once.
        unsafe { (functions.unmap)(raw, cookie) };
        mapped
    }

    fn object(&self, what: impl fmt::Display) -> String {
        self.gbm.object(what)
    }
}

impl Drop for Bo {
    fn drop(&mut self) {
        let _device = self.gbm.lock();
        // SAFETY: the buffer is live, its device ours alone, and it is destroyed only here.
        unsafe { (self.gbm.0.functions.destroy)(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for Bo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bo({})", self.object(&self.frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_an_errno_says_so() {
        let refused = answered(std::ptr::null_mut).expect_err("it is null");
        assert_eq!(refused.to_string(), NO_ERRNO);
    }
}
