#![expect(unsafe_code, reason = "ioctls of the V4L2 interface")]
//! The calls of the V4L2 interface, each with the one structure that it takes.
//!
//! Source: the `VIDIOC_*` numbers at the end of `include/uapi/linux/videodev2.h`.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, opcode};

use super::uapi::{
    Buffer, Capability, Control, CreateBuffers, ExportBuffer, FmtDesc, Format, FormatMplane, FrameSize, Input, Output,
    Place, Plane, QueryCtrl, QueryMenu, RequestBuffers, Selection,
};
use crate::error::Cause;
use crate::ioctl::ask;
use crate::ledger;

/// A call whose argument is a pointer to one `T`.
pub(crate) struct Call<T> {
    /// Its name in the documentation.
    pub(crate) name: &'static str,
    opcode: Opcode,
    argument: PhantomData<fn(&mut T)>,
}

pub(crate) const QUERYCAP: Call<Capability> = reads("VIDIOC_QUERYCAP", 0);
pub(crate) const ENUM_FMT: Call<FmtDesc> = both("VIDIOC_ENUM_FMT", 2);
pub(crate) const G_FMT: Call<Format> = both("VIDIOC_G_FMT", 4);
pub(crate) const G_FMT_MPLANE: Call<FormatMplane> = both("VIDIOC_G_FMT", 4);
pub(crate) const S_FMT: Call<Format> = both("VIDIOC_S_FMT", 5);
pub(crate) const S_FMT_MPLANE: Call<FormatMplane> = both("VIDIOC_S_FMT", 5);
pub(crate) const REQBUFS: Call<RequestBuffers> = both("VIDIOC_REQBUFS", 8);
pub(crate) const QUERYBUF: Call<Buffer> = both("VIDIOC_QUERYBUF", 9);
pub(crate) const QBUF: Call<Buffer> = both("VIDIOC_QBUF", 15);
const EXPBUF: Call<ExportBuffer> = both("VIDIOC_EXPBUF", 16);
pub(crate) const DQBUF: Call<Buffer> = both("VIDIOC_DQBUF", 17);
pub(crate) const STREAMON: Call<u32> = writes("VIDIOC_STREAMON", 18);
pub(crate) const STREAMOFF: Call<u32> = writes("VIDIOC_STREAMOFF", 19);
pub(crate) const ENUMINPUT: Call<Input> = both("VIDIOC_ENUMINPUT", 26);
pub(crate) const S_CTRL: Call<Control> = both("VIDIOC_S_CTRL", 28);
pub(crate) const QUERYCTRL: Call<QueryCtrl> = both("VIDIOC_QUERYCTRL", 36);
pub(crate) const QUERYMENU: Call<QueryMenu> = both("VIDIOC_QUERYMENU", 37);
pub(crate) const S_INPUT: Call<u32> = both("VIDIOC_S_INPUT", 39);
pub(crate) const S_OUTPUT: Call<u32> = both("VIDIOC_S_OUTPUT", 47);
pub(crate) const ENUMOUTPUT: Call<Output> = both("VIDIOC_ENUMOUTPUT", 48);
pub(crate) const TRY_FMT: Call<Format> = both("VIDIOC_TRY_FMT", 64);
pub(crate) const TRY_FMT_MPLANE: Call<FormatMplane> = both("VIDIOC_TRY_FMT", 64);
pub(crate) const ENUM_FRAMESIZES: Call<FrameSize> = both("VIDIOC_ENUM_FRAMESIZES", 74);
pub(crate) const CREATE_BUFS: Call<CreateBuffers<Format>> = both("VIDIOC_CREATE_BUFS", 92);
pub(crate) const CREATE_BUFS_MPLANE: Call<CreateBuffers<FormatMplane>> = both("VIDIOC_CREATE_BUFS", 92);
pub(crate) const S_SELECTION: Call<Selection> = both("VIDIOC_S_SELECTION", 95);

const fn reads<T>(name: &'static str, number: u8) -> Call<T> {
    Call { name, opcode: opcode::read::<T>(b'V', number), argument: PhantomData }
}

const fn writes<T>(name: &'static str, number: u8) -> Call<T> {
    Call { name, opcode: opcode::write::<T>(b'V', number), argument: PhantomData }
}

const fn both<T>(name: &'static str, number: u8) -> Call<T> {
    Call { name, opcode: opcode::read_write::<T>(b'V', number), argument: PhantomData }
}

impl<T> Call<T> {
    /// Makes the call on `node`.
    pub(crate) fn ask(&self, node: impl AsFd, argument: &mut T) -> Result<(), Errno> {
        let _call = ledger::calling(self.name, "a video device");
        // SAFETY: only the constants above make a `Call`, each with the structure of its number. Addresses are in it only if
        // `ask_planes` put them there.
        unsafe { ask(node, self.opcode, argument) }
    }
}

impl Call<Buffer> {
    /// Makes the call on a multi-planar queue of `node`, with `planes` in `buffer`.
    pub(crate) fn ask_planes(&self, node: impl AsFd, buffer: &mut Buffer, planes: &mut [Plane]) -> Result<(), Errno> {
        buffer.length = planes.len() as u32;
        buffer.place = Place::address(planes.as_mut_ptr().expose_provenance() as u64);
        let asked = self.ask(node, buffer);
        // The address must not outlive `planes`.
        buffer.place = Place::default();
        asked
    }
}

/// `VIDIOC_EXPBUF`: a new dma-buf fd of a buffer.
pub(crate) fn export(node: BorrowedFd<'_>, request: &mut ExportBuffer) -> Result<OwnedFd, Cause> {
    request.fd = -1;
    EXPBUF.ask(node, request)?;
    if request.fd < 0 {
        return Err(Cause::Answer(format!("fd {}; an open file was due", request.fd)));
    }
    // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(request.fd) })
}
