//! The bytes of a dma-buf as the CPU sees them: `mmap`, and `DMA_BUF_IOCTL_SYNC` around every access.
//!
//! No Rust reference to the mapped memory is ever made, since devices and other processes write to it at will: bytes
//! are copied out and in.
#![expect(unsafe_code, reason = "mmap, munmap and raw copies of memory that devices share")]

use std::borrow::Borrow;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};

use super::{Dmabuf, scratch};
use crate::error::{Cause, Error, Result};
use crate::ledger;
use crate::restart;
use crate::share::core::Access;

/// A dma-buf mapped for the CPU, from its first byte on, with an fd of its own or one that is lent. Unmapped when dropped.
#[derive(Debug)]
pub struct Mapping<B: Borrow<Dmabuf> = Dmabuf> {
    buffer: B,
    region: Arc<Region>,
}

/// The addresses of a [`Mapping`], whatever they show: for looking without the kernel's knowledge, as programs do that
/// keep a pointer. They stay mapped for as long as this lives.
#[derive(Clone, Debug)]
pub struct Window(Arc<Region>);

/// Addresses that are ours until it is dropped.
#[derive(Debug)]
struct Region {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Region {}
// SAFETY: what is done with the addresses is copying bytes in and out by raw pointers, which any number of threads, and of
// devices, may do at once: see the module's documentation.
unsafe impl Sync for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range was mapped for this region, nothing refers to it any more, and it is unmapped only here.
        if let Err(errno) = unsafe { munmap(self.start.as_ptr(), self.length) } {
            tracing::error!(length = self.length, %errno, "munmap failed");
        }
    }
}

impl Region {
    /// The address of byte `at`, if `length` bytes from there on are inside.
    fn at(&self, at: u64, length: u64) -> Option<*mut u8> {
        at.checked_add(length).filter(|&end| end <= self.length as u64)?;
        // SAFETY: the offset is at most the region's length, which is one allocation of that size.
        Some(unsafe { self.start.as_ptr().cast::<u8>().add(at as usize) })
    }
}

impl Window {
    /// Fills `bytes` with what the addresses from `at` on show now, in bytes from their start.
    ///
    /// No `DMA_BUF_IOCTL_SYNC` is made, so caches may be stale where a device's are not coherent.
    ///
    /// # Errors
    /// The range reaches outside.
    pub fn peek(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let Some(from) = self.0.at(at, bytes.len() as u64) else {
            let object = format!("{} B mapped for the CPU", self.0.length);
            return Err(Error::input("CPU access", object, format!("{} B at byte {at} reach outside", bytes.len())));
        };
        // SAFETY: the source lies in the region, and is readable for as long as it lives; the destination is private memory.
        // Whoever writes meanwhile can only make bytes torn, and every byte is a valid u8.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }
}

/// How long `DMA_BUF_IOCTL_SYNC` may keep answering `EINTR` or `EAGAIN` before we give up.
const SYNC_DEADLINE: Duration = Duration::from_secs(5);

/// `DMA_BUF_SYNC_READ`, `_WRITE` and `_END` of `include/uapi/linux/dma-buf.h`; `_START` is 0.
const SYNC_READ: u64 = 1;
const SYNC_WRITE: u64 = 2;
const SYNC_END: u64 = 4;

/// A CPU access under way, as a device's is: nothing in it waits for anybody, and what is written counts when it is ended.
///
/// The kernel waits for the buffer's fences when an access begins, so one that began before can work under them.
#[derive(Debug)]
pub struct OpenAccess {
    mapping: Mapping,
    flags: u64,
}

impl OpenAccess {
    /// Fills `bytes` with the bytes from `at` on.
    ///
    /// # Errors
    /// The range reaches outside the buffer.
    pub fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.mapping.window().peek(at, bytes)
    }

    /// Copies `bytes` to where they belong, `at` bytes from the start of the buffer.
    ///
    /// # Errors
    /// The range reaches outside the buffer.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        let to = self.mapping.at(at, bytes.len() as u64)?;
        // SAFETY: `at` checked that the destination lies in the mapping; `bytes` is private memory, since no reference to a
        // mapping is ever handed out, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    /// Ends the access.
    ///
    /// # Errors
    /// `DMA_BUF_IOCTL_SYNC` fails.
    pub fn end(self) -> Result<()> {
        self.mapping.sync(self.flags | SYNC_END)
    }
}

impl Mapping {
    /// Begins an access that lasts until it is ended.
    ///
    /// # Errors
    /// `DMA_BUF_IOCTL_SYNC` fails; it waits for the buffer's fences first.
    pub fn begin(self, access: Access) -> Result<OpenAccess> {
        let flags = match access {
            Access::Read => SYNC_READ,
            Access::Write => SYNC_READ | SYNC_WRITE,
        };
        self.sync(flags)?;
        Ok(OpenAccess { mapping: self, flags })
    }

    /// How many bytes it shows.
    pub fn length(&self) -> u64 {
        self.region.length as u64
    }

    /// Its addresses, which outlive it.
    pub fn window(&self) -> Window {
        Window(self.region.clone())
    }

    /// Shows `buffer` at the same addresses from now on; whoever looks there sees the one or the other, and never neither.
    ///
    /// # Errors
    /// `buffer` is too small, or the exporter refuses mmap. The addresses show then what they showed before, unless the kernel had
    /// taken that away already, which only a map of the old one makes good.
    pub fn show(&mut self, buffer: Dmabuf) -> Result<()> {
        let Region { start, length } = *self.region;
        if buffer.size < self.length() {
            let why = format!("a CPU mapping of {length} B can't show it");
            return Err(Error::input("mmap(MAP_FIXED)", buffer.to_string(), why));
        }
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: exactly the addresses of our region are replaced; no Rust reference points there.
        let shown = unsafe { mmap(start.as_ptr(), length, prot, flags, &buffer.fd, 0) };
        shown.map_err(|errno| Error::new("mmap(MAP_FIXED)", buffer.to_string(), errno))?;
        self.buffer = buffer;
        Ok(())
    }

    /// Whether stores to the addresses reach the buffer; otherwise they are a SIGSEGV, and lost for nobody.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_writable(&mut self, writable: bool) -> Result<()> {
        let Region { start, length } = *self.region;
        let write = if writable { MprotectFlags::WRITE } else { MprotectFlags::empty() };
        // SAFETY: exactly the addresses of our region change their protection; they stay readable.
        unsafe { mprotect(start.as_ptr(), length, MprotectFlags::READ | write) }
            .map_err(|errno| Error::new("mprotect", self.buffer.to_string(), errno))
    }

    /// Copies runs of bytes out of `source`, each `(bytes from its start, bytes from our start, length)`, in one CPU access.
    ///
    /// # Errors
    /// A run reaches outside one of the two (the runs before it are copied); `DMA_BUF_IOCTL_SYNC` fails.
    pub fn copy_from(&mut self, source: &Self, runs: impl IntoIterator<Item = (u64, u64, u64)>) -> Result<()> {
        source.sync(SYNC_READ)?;
        if let Err(error) = self.sync(SYNC_WRITE) {
            source.sync(SYNC_READ | SYNC_END)?;
            return Err(error);
        }
        let copied = runs.into_iter().try_for_each(|(from, to, length)| {
            let (from, to) = (source.at(from, length)?, self.at(to, length)?);
            // SAFETY: both runs were checked to lie in their mappings. Two mappings never share addresses, but they may
            // show the same memory, so this is a copy that allows overlapping.
            unsafe { std::ptr::copy(from, to, length as usize) };
            Ok(())
        });
        // Both are ended, whatever comes of the first.
        let written = self.sync(SYNC_WRITE | SYNC_END);
        source.sync(SYNC_READ | SYNC_END)?;
        written.and(copied)
    }

    /// A copy of the bytes in `range`, in bytes from the start of the buffer.
    ///
    /// # Errors
    /// The range reaches outside the buffer; `DMA_BUF_IOCTL_SYNC` fails.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let length = range.end.saturating_sub(range.start);
        // Before the allocation, whose size may be nonsense.
        self.at(range.start, length)?;
        let mut bytes = vec![0; length as usize];
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` with the bytes from `at` on: [`Self::read`] without a new allocation, which in the sandbox costs
    /// more than the copy.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_into(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let from = self.at(at, bytes.len() as u64)?;
        self.sync(SYNC_READ)?;
        // SAFETY: `at` checked that the source lies in the mapping; the destination is private memory, since no
        // reference to a mapping is ever handed out. Whoever writes meanwhile can only make bytes torn, and every byte
        // is a valid u8.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        self.sync(SYNC_READ | SYNC_END)
    }

    /// Copies `bytes` to where they belong, `at` bytes from the start of the buffer.
    ///
    /// # Errors
    /// The range reaches outside the buffer; `DMA_BUF_IOCTL_SYNC` fails.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.write_all([(at, bytes)])
    }
}

impl<B: Borrow<Dmabuf>> Mapping<B> {
    /// Maps `buffer`.
    ///
    /// # Errors
    /// The exporter refuses `mmap`.
    pub(super) fn new(buffer: B) -> Result<Self> {
        let all = buffer.borrow().size;
        Self::of_first(buffer, all)
    }

    /// Maps the first `bytes` of `buffer`, or all that it has if that is less: udmabuf maps every page at the first touch, and in
    /// the sandbox each of them takes its time.
    ///
    /// # Errors
    /// The exporter refuses `mmap`.
    pub(super) fn of_first(buffer: B, bytes: u64) -> Result<Self> {
        let lent: &Dmabuf = buffer.borrow();
        let refused = |errno| match errno {
            // `dma_buf_mmap`: an exporter may have no mmap, or none for this memory, as amdgpu for what the CPU does not see.
            Errno::INVAL | Errno::PERM | Errno::NODEV | Errno::NXIO | Errno::OPNOTSUPP => {
                let why = format!("{}: its exporter lets no CPU map it", Cause::from(errno));
                Error::missing("mmap", lent.to_string(), why)
            }
            errno => Error::new("mmap", lent.to_string(), errno),
        };
        let length = usize::try_from(lent.size.min(bytes)).map_err(|_| refused(Errno::OVERFLOW))?;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing that exists.
        let start = unsafe { mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, &lent.fd, 0) };
        let start = start.map_err(refused)?;
        let start = NonNull::new(start).ok_or_else(|| Error::answer("mmap", lent.to_string(), "a null address"))?;
        Ok(Self { buffer, region: Arc::new(Region { start, length }) })
    }

    fn buffer(&self) -> &Dmabuf {
        self.buffer.borrow()
    }

    /// A copy of several runs of bytes, each `(bytes from the start of the buffer, length)`, one behind the other and in one
    /// CPU access. What lies between them is not touched: in the sandbox a page costs more than the copy of what is in it.
    ///
    /// # Errors
    /// A run reaches outside the buffer; `DMA_BUF_IOCTL_SYNC` fails.
    pub fn gather(&self, runs: impl Iterator<Item = (u64, u64)> + Clone) -> Result<Vec<u8>> {
        // Before the allocation, whose size may be nonsense.
        let total =
            runs.clone().try_fold(0, |total, (at, length)| self.at(at, length).map(|_| total + length as usize))?;
        let mut bytes = vec![0; total];
        let mut rest = bytes.as_mut_slice();
        self.sync(SYNC_READ)?;
        for (at, length) in runs {
            let from = self.at(at, length)?;
            let (run, behind) = rest.split_at_mut(length as usize);
            rest = behind;
            // SAFETY: `at` checked that the source lies in the mapping; the destination is private memory, since no
            // reference to a mapping is ever handed out. Whoever writes meanwhile can only make bytes torn, and every byte
            // is a valid u8.
            unsafe { std::ptr::copy_nonoverlapping(from, run.as_mut_ptr(), run.len()) };
        }
        self.sync(SYNC_READ | SYNC_END)?;
        Ok(bytes)
    }

    /// Copies several runs of bytes, each `(bytes from the start of the buffer, content)`, in one CPU access.
    ///
    /// # Errors
    /// A range reaches outside the buffer (the runs before it are written); `DMA_BUF_IOCTL_SYNC` fails.
    pub fn write_all<'a>(&mut self, runs: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<()> {
        let placed = |(at, bytes): (u64, &'a [u8])| Ok((self.at(at, bytes.len() as u64)?, bytes));
        let (mut inside, mut outside) = (Vec::new(), Ok(()));
        for run in runs.into_iter().map(placed) {
            match run {
                Ok(run) => inside.push(run),
                Err(error) => {
                    outside = Err(error);
                    break;
                }
            }
        }
        self.sync(SYNC_WRITE)?;
        // SAFETY: `at` checked that each destination lies in the mapping; the bytes are private memory, since no reference to a
        // mapping is ever handed out.
        if !unsafe { scratch::write(&inside) } {
            for (to, bytes) in inside {
                // SAFETY: as above, so the two do not overlap.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
            }
        }
        self.sync(SYNC_WRITE | SYNC_END)?;
        outside
    }

    /// The address of byte `at`, if `length` bytes from there on are inside the mapping.
    fn at(&self, at: u64, length: u64) -> Result<*mut u8> {
        self.region.at(at, length).ok_or_else(|| {
            let why = format!("{length} B at byte {at} reach outside the buffer");
            Error::input("CPU access", self.buffer().to_string(), why)
        })
    }

    /// `DMA_BUF_IOCTL_SYNC`, restarted as its documentation asks: "this can fail with -EAGAIN or -EINTR, in which case
    /// it must be restarted".
    fn sync(&self, flags: u64) -> Result<()> {
        const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
        // Asked for once it matters: in some kernels the time is a system call.
        let mut until = None;
        let _call = ledger::calling("DMA_BUF_IOCTL_SYNC", self.buffer());
        loop {
            // SAFETY: `struct dma_buf_sync` is one __u64, and DMA_BUF_IOCTL_SYNC is _IOW('b', 0, struct dma_buf_sync).
            let sync = unsafe { Setter::<SYNC, u64>::new(flags) };
            // SAFETY: the request only reads its argument, which lives until the call returns.
            match unsafe { ioctl(&self.buffer().fd, sync) } {
                Ok(()) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => {
                    let now = Instant::now();
                    if now >= *until.get_or_insert(now + SYNC_DEADLINE) {
                        return Err(Error::deadline("DMA_BUF_IOCTL_SYNC", self.buffer().to_string(), SYNC_DEADLINE));
                    }
                    restart::count();
                }
                Err(errno) => return Err(Error::new("DMA_BUF_IOCTL_SYNC", self.buffer().to_string(), errno)),
            }
        }
    }
}
