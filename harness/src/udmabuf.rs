//! A dma-buf whose pages are a memfd of our own: the simplest exporter there is, and one whose bytes we can see twice.
//!
//! The CPU writes and reads the pages through the memfd as well as through the dma-buf, so a reader that looked at
//! other pages than the exporter's is found out. It decides nothing about frames: size and alignment are the caller's.
//!
//! Source: `drivers/dma-buf/udmabuf.c` and `include/uapi/linux/udmabuf.h` of the kernel.
#![expect(unsafe_code, reason = "UDMABUF_CREATE answers with an fd as its return value")]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::retry_on_intr;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

use crate::dmabuf::{Dmabuf, SharedFrame};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::{ledger, node};

const NODE: &str = "/dev/udmabuf";

/// What the heap of such memory is called.
pub(crate) const HEAP: &str = "udmabuf";

/// Exports `size` bytes of fresh, zeroed memory as a dma-buf; returns it with the memfd that holds the pages.
///
/// # Errors
/// `size` is not a positive multiple of the page size; the machine has no `/dev/udmabuf` or we may not open it; the
/// kernel refuses (its limit is 64 MiB unless `udmabuf.size_limit_mb` says otherwise).
pub fn create(size: u64) -> Result<(Dmabuf, OwnedFd)> {
    let object = || format!("{NODE} ({size} B)");
    let memfd = sealed(size, object)?;
    let create = Create { memfd: memfd.as_raw_fd() as u32, flags: UDMABUF_FLAGS_CLOEXEC, offset: 0, size };
    let fd = device()?.make(CREATE, create).map_err(|errno| Error::new("UDMABUF_CREATE", object(), errno))?;
    let dmabuf = Dmabuf::from_fd(fd)?;
    ledger::step("UDMABUF_CREATE", Some(dmabuf.inode()), format_args!("{size} B"));
    Ok((dmabuf, memfd))
}

/// A dma-buf of `size` bytes whose second half is its first half again: no device sees it as one run of addresses, however
/// its pages lie, unless something between the two maps addresses anew. For trying whether a device minds.
///
/// # Errors
/// As [`create`], with half of `size`.
pub fn folded(size: u64) -> Result<Dmabuf> {
    let object = || format!("{NODE} ({size} B, folded)");
    let half = size / 2;
    let memfd = sealed(half, object)?;
    let part = Part { memfd: memfd.as_raw_fd() as u32, padding: 0, offset: 0, size: half };
    let list = CreateList { flags: UDMABUF_FLAGS_CLOEXEC, count: 2, list: [part, part] };
    let fd = device()?.make(CREATE_LIST, list).map_err(|errno| Error::new("UDMABUF_CREATE_LIST", object(), errno))?;
    Dmabuf::from_fd(fd)
}

/// What `UDMABUF_CREATE` is told, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The memory file.
    pub memfd: RawFd,
    /// First byte of it.
    pub offset: u64,
    /// In bytes.
    pub size: u64,
}

/// How a memory file is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It can't shrink, as the driver wants it.
    Shrink,
    /// Not at all.
    Not,
    /// It can't shrink, and nobody may write to it.
    ShrinkAndWrite,
}

/// A memory file of `size` bytes.
///
/// # Errors
/// The process has no fd left.
pub fn memory(size: u64, sealed: Sealed) -> Result<OwnedFd> {
    let object = || format!("{size} B");
    let memfd = rustix::fs::memfd_create("handover", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(|errno| Error::new("memfd_create", object(), errno))?;
    retry_on_intr(|| rustix::fs::ftruncate(&memfd, size)).map_err(|errno| Error::new("ftruncate", object(), errno))?;
    let seals = match sealed {
        Sealed::Shrink => SealFlags::SHRINK,
        Sealed::Not => SealFlags::empty(),
        Sealed::ShrinkAndWrite => SealFlags::SHRINK | SealFlags::WRITE,
    };
    rustix::fs::fcntl_add_seals(&memfd, seals).map_err(|errno| Error::new("fcntl(F_ADD_SEALS)", object(), errno))?;
    Ok(memfd)
}

/// Has the driver make a dma-buf of what is `asked`, whatever that is.
///
/// # Errors
/// The driver's answer.
pub fn ask(asked: Asked) -> Result<Dmabuf> {
    let Asked { memfd, offset, size } = asked;
    let create = Create { memfd: memfd.cast_unsigned(), flags: UDMABUF_FLAGS_CLOEXEC, offset, size };
    let made = device()?.make(CREATE, create);
    Dmabuf::from_fd(made.map_err(|errno| Error::new("UDMABUF_CREATE", format!("{NODE}, {asked:?}"), errno))?)
}

/// A memfd of `size` bytes that the driver takes: it takes only memory that can't shrink under it.
fn sealed(size: u64, object: impl Fn() -> String) -> Result<OwnedFd> {
    let page = rustix::param::page_size() as u64;
    if size == 0 || !size.is_multiple_of(page) {
        return Err(Error::input("UDMABUF_CREATE", object(), format!("size must be a positive multiple of {page} B")));
    }
    memory(size, Sealed::Shrink)
}

/// `/dev/udmabuf`, open.
struct Device(OwnedFd);

fn device() -> Result<Device> {
    node::open(Path::new(NODE), OFlags::RDWR).map(Device)
}

impl Device {
    fn make<T: Copy>(&self, call: Call<T>, argument: T) -> rustix::io::Result<OwnedFd> {
        retry_on_intr(|| {
            let make = Make { call: Call { ..call }, argument };
            // SAFETY: only the constants below make a `Call`, each with the structure of its number; the argument lives until
            // the call returns, and the memfds that it names are open meanwhile.
            unsafe { ioctl(&self.0, make) }
        })
    }
}

/// A udmabuf just large enough for `frame` and `slack` bytes after it, rounded up to whole pages.
///
/// # Errors
/// As [`create`]; also if the frame can't be addressed by byte.
pub fn for_frame(frame: Frame, slack: u64) -> Result<SharedFrame> {
    let page = rustix::param::page_size() as u64;
    let size = frame.end()?.checked_add(slack).and_then(|end| end.checked_next_multiple_of(page));
    let size =
        size.ok_or_else(|| Error::input("UDMABUF_CREATE", frame.to_string(), "its size does not fit in 64 bits"))?;
    let (dmabuf, _) = create(size)?;
    Ok(SharedFrame { dmabuf, frame })
}

const UDMABUF_FLAGS_CLOEXEC: u32 = 1;

/// `UDMABUF_CREATE`.
const CREATE: Call<Create> = Call { opcode: opcode::write::<Create>(b'u', 0x42), argument: PhantomData };

/// `UDMABUF_CREATE_LIST`, whose number has the size of the structure without its list.
const CREATE_LIST: Call<CreateList> = Call { opcode: opcode::write::<[u32; 2]>(b'u', 0x43), argument: PhantomData };

/// A call that reads a `T` and returns a new fd.
struct Call<T> {
    opcode: Opcode,
    argument: PhantomData<fn(T)>,
}

/// `struct udmabuf_create`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

/// `struct udmabuf_create_list` with two items.
#[repr(C)]
#[derive(Clone, Copy)]
struct CreateList {
    flags: u32,
    count: u32,
    list: [Part; 2],
}

/// `struct udmabuf_create_item`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Part {
    memfd: u32,
    padding: u32,
    offset: u64,
    size: u64,
}

/// What rustix is to call.
struct Make<T> {
    call: Call<T>,
    argument: T,
}

// SAFETY: both calls are _IOW: they read the structure, and what they return is a new fd.
unsafe impl<T> Ioctl for Make<T> {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.call.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(&mut self.argument).cast()
    }

    unsafe fn output_from_ptr(fd: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the call succeeded, so this is an fd that the kernel just made and that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
