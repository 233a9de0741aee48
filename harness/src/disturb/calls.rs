//! Which system calls may fail how, and what are they called? Pure.
//!
//! Sources: the ERRORS of each call's manual page; for ioctls, which of them make an fd, by the documentation of DRM, V4L2 and
//! dma-buf.

use serde::{Deserialize, Serialize};

use super::Fault;

/// A system call with what tells one from another of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// A constant `libc::SYS_…`.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

use Fault::{Busy, Interrupted, NoMemory, TooManyFiles};

/// Calls that are looked at, with their names and how they may fail. `close` is not among them: whatever it returns, the fd is
/// closed. Nor is what a process needs for its own memory, such as `mprotect`; `clone`, since the runtime of C++ throws where there
/// is no thread, which nobody catches who is asked from another language; or `ftruncate`, which waits for nothing in memory files.
const CALLS: &[(i64, &str, &[Fault])] = &[
    (libc::SYS_ioctl, "ioctl", &[Interrupted, NoMemory, Busy]),
    (libc::SYS_openat, "openat", &[NoMemory, TooManyFiles]),
    (libc::SYS_mmap, "mmap", &[NoMemory]),
    (libc::SYS_read, "read", &[Interrupted]),
    (libc::SYS_write, "write", &[Interrupted]),
    (libc::SYS_recvmsg, "recvmsg", &[Interrupted, NoMemory]),
    (libc::SYS_sendmsg, "sendmsg", &[Interrupted, NoMemory]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll", &[Interrupted, NoMemory]),
    (libc::SYS_ppoll, "ppoll", &[Interrupted, NoMemory]),
    (libc::SYS_memfd_create, "memfd_create", &[NoMemory, TooManyFiles]),
    (libc::SYS_fallocate, "fallocate", &[Interrupted]),
    (libc::SYS_dup, "dup", &[TooManyFiles]),
    (libc::SYS_dup3, "dup3", &[Interrupted, Busy]),
    (libc::SYS_pipe2, "pipe2", &[TooManyFiles]),
    (libc::SYS_accept4, "accept4", &[Interrupted, NoMemory, TooManyFiles]),
    (libc::SYS_fcntl, "fcntl", &[TooManyFiles]),
    (libc::SYS_socketpair, "socketpair", &[NoMemory, TooManyFiles]),
    (libc::SYS_eventfd2, "eventfd2", &[NoMemory, TooManyFiles]),
];

/// What bears on how a request may fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing does.
    Plain,
    /// It makes an fd.
    MakesFd,
    /// It makes an fd, and nothing in it waits for what a signal could interrupt.
    Allocates,
    /// It ends something, for which there is always memory, and which is nobody else's. That it fails would not be survived, but
    /// a leak that we made.
    Ends,
}

use Effect::{Allocates, Ends, MakesFd, Plain};

/// Requests of ioctl by type and number, which every device of the kind has alike, with their names.
const REQUESTS: &[(u8, u8, &str, Effect)] = &[
    (b'd', 0x00, "DRM_IOCTL_VERSION", Plain),
    (b'd', 0x09, "DRM_IOCTL_GEM_CLOSE", Ends),
    (b'd', 0x0c, "DRM_IOCTL_GET_CAP", Plain),
    (b'd', 0x0d, "DRM_IOCTL_SET_CLIENT_CAP", Plain),
    (b'd', 0x1e, "DRM_IOCTL_SET_MASTER", Plain),
    (b'd', 0x1f, "DRM_IOCTL_DROP_MASTER", Ends),
    (b'd', 0x2d, "DRM_IOCTL_PRIME_HANDLE_TO_FD", MakesFd),
    (b'd', 0x2e, "DRM_IOCTL_PRIME_FD_TO_HANDLE", Plain),
    (b'd', 0xa0, "DRM_IOCTL_MODE_GETRESOURCES", Plain),
    (b'd', 0xa1, "DRM_IOCTL_MODE_GETCRTC", Plain),
    (b'd', 0xa7, "DRM_IOCTL_MODE_GETCONNECTOR", Plain),
    (b'd', 0xaa, "DRM_IOCTL_MODE_GETPROPERTY", Plain),
    (b'd', 0xac, "DRM_IOCTL_MODE_GETPROPBLOB", Plain),
    (b'd', 0xae, "DRM_IOCTL_MODE_ADDFB", Plain),
    (b'd', 0xaf, "DRM_IOCTL_MODE_RMFB", Ends),
    (b'd', 0xb2, "DRM_IOCTL_MODE_CREATE_DUMB", Plain),
    (b'd', 0xb3, "DRM_IOCTL_MODE_MAP_DUMB", Plain),
    (b'd', 0xb4, "DRM_IOCTL_MODE_DESTROY_DUMB", Ends),
    (b'd', 0xb5, "DRM_IOCTL_MODE_GETPLANERESOURCES", Plain),
    (b'd', 0xb6, "DRM_IOCTL_MODE_GETPLANE", Plain),
    (b'd', 0xb8, "DRM_IOCTL_MODE_ADDFB2", Plain),
    (b'd', 0xb9, "DRM_IOCTL_MODE_OBJ_GETPROPERTIES", Plain),
    (b'd', 0xbc, "DRM_IOCTL_MODE_ATOMIC", MakesFd),
    (b'd', 0xbd, "DRM_IOCTL_MODE_CREATEPROPBLOB", Plain),
    (b'd', 0xbe, "DRM_IOCTL_MODE_DESTROYPROPBLOB", Ends),
    (b'd', 0xbf, "DRM_IOCTL_SYNCOBJ_CREATE", Plain),
    (b'd', 0xc0, "DRM_IOCTL_SYNCOBJ_DESTROY", Ends),
    (b'd', 0xc1, "DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD", MakesFd),
    (b'd', 0xc2, "DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE", Plain),
    (b'd', 0xc3, "DRM_IOCTL_SYNCOBJ_WAIT", Plain),
    (b'd', 0xc4, "DRM_IOCTL_SYNCOBJ_RESET", Plain),
    (b'd', 0xc5, "DRM_IOCTL_SYNCOBJ_SIGNAL", Plain),
    (b'd', 0xca, "DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT", Plain),
    (b'd', 0xcb, "DRM_IOCTL_SYNCOBJ_QUERY", Plain),
    (b'd', 0xcc, "DRM_IOCTL_SYNCOBJ_TRANSFER", Plain),
    (b'd', 0xcd, "DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL", Plain),
    (b'd', 0xce, "DRM_IOCTL_MODE_GETFB2", Plain),
    (b'd', 0xcf, "DRM_IOCTL_SYNCOBJ_EVENTFD", Plain),
    (b'd', 0xd0, "DRM_IOCTL_MODE_CLOSEFB", Ends),
    (b'u', 0x42, "UDMABUF_CREATE", Allocates),
    (b'u', 0x43, "UDMABUF_CREATE_LIST", Allocates),
    (b'H', 0x00, "DMA_HEAP_IOCTL_ALLOC", Allocates),
    (b'b', 0x00, "DMA_BUF_IOCTL_SYNC", Plain),
    (b'b', 0x01, "DMA_BUF_SET_NAME", Plain),
    (b'b', 0x02, "DMA_BUF_IOCTL_EXPORT_SYNC_FILE", MakesFd),
    (b'b', 0x03, "DMA_BUF_IOCTL_IMPORT_SYNC_FILE", Plain),
    (b'>', 0x03, "SYNC_IOC_MERGE", MakesFd),
    (b'>', 0x04, "SYNC_IOC_FILE_INFO", Plain),
    (b'W', 0x00, "SW_SYNC_IOC_CREATE_FENCE", MakesFd),
    (b'W', 0x01, "SW_SYNC_IOC_INC", Plain),
    (b'V', 0x00, "VIDIOC_QUERYCAP", Plain),
    (b'V', 0x02, "VIDIOC_ENUM_FMT", Plain),
    (b'V', 0x04, "VIDIOC_G_FMT", Plain),
    (b'V', 0x05, "VIDIOC_S_FMT", Plain),
    (b'V', 0x08, "VIDIOC_REQBUFS", Plain),
    (b'V', 0x09, "VIDIOC_QUERYBUF", Plain),
    (b'V', 0x0f, "VIDIOC_QBUF", Plain),
    (b'V', 0x10, "VIDIOC_EXPBUF", MakesFd),
    (b'V', 0x11, "VIDIOC_DQBUF", Plain),
    (b'V', 0x12, "VIDIOC_STREAMON", Plain),
    (b'V', 0x13, "VIDIOC_STREAMOFF", Ends),
    (b'V', 0x1c, "VIDIOC_S_CTRL", Plain),
    (b'V', 0x40, "VIDIOC_TRY_FMT", Plain),
    (b'V', 0x48, "VIDIOC_S_EXT_CTRLS", Plain),
    (b'V', 0x5c, "VIDIOC_CREATE_BUFS", Plain),
];

impl Call {
    /// The numbers of the calls that are looked at.
    pub fn numbers() -> Vec<i64> {
        CALLS.iter().map(|(number, ..)| *number).collect()
    }

    fn request(&self) -> Option<&'static (u8, u8, &'static str, Effect)> {
        let [nr, kind, ..] = self.args[1].to_le_bytes();
        REQUESTS.iter().find(|(of, number, ..)| (*of, *number) == (kind, nr))
    }

    /// Whether it may fail like that.
    pub fn may(&self, fault: Fault) -> bool {
        const DUPLICATES: [i32; 2] = [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
        let effect = self.request().map_or(Plain, |(.., effect)| *effect);
        match (self.number, fault) {
            (libc::SYS_ioctl, TooManyFiles) => matches!(effect, MakesFd | Allocates),
            (libc::SYS_ioctl, Interrupted) => effect != Allocates,
            (libc::SYS_ioctl, NoMemory) => effect != Ends,
            // Nobody has a dma-buf to himself.
            (libc::SYS_ioctl, Busy) => effect != Ends && self.args[1].to_le_bytes()[1] != b'b',
            (libc::SYS_fcntl, TooManyFiles) => {
                DUPLICATES.iter().any(|command| u64::try_from(*command) == Ok(self.args[1]))
            }
            _ => CALLS.iter().any(|(number, _, faults)| *number == self.number && faults.contains(&fault)),
        }
    }

    /// Whether it moves bytes, and so is interrupted only where the other end is one that it would wait for: nobody is in the
    /// middle of a read of a file.
    pub fn moves_bytes(&self) -> bool {
        matches!(self.number, libc::SYS_read | libc::SYS_write)
    }

    /// Its name; of an ioctl, that of the request.
    pub fn name(&self) -> String {
        match (self.number, self.request()) {
            (libc::SYS_ioctl, Some((.., name, _))) => (*name).to_owned(),
            (libc::SYS_ioctl, None) => format!("ioctl({:#010x})", self.args[1]),
            (number, _) => {
                let known = CALLS.iter().find(|(other, ..)| *other == number);
                known.map_or_else(|| format!("system call {number}"), |(_, name, _)| (*name).to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ioctl(request: u64) -> Call {
        Call { number: libc::SYS_ioctl, args: [3, request, 0, 0, 0, 0] }
    }

    #[test]
    fn an_ioctl_has_the_name_of_its_request() {
        assert_eq!(ioctl(0xc068_64b8).name(), "DRM_IOCTL_MODE_ADDFB2");
        assert_eq!(ioctl(0x4018_7542).name(), "UDMABUF_CREATE");
        assert_eq!(ioctl(0x4008_6200).name(), "DMA_BUF_IOCTL_SYNC");
        assert_eq!(ioctl(0xc058_560f).name(), "VIDIOC_QBUF");
        assert_eq!(ioctl(0x5401).name(), "ioctl(0x00005401)");
        assert_eq!(Call { number: libc::SYS_openat, args: [0; 6] }.name(), "openat");
    }

    #[test]
    fn only_what_makes_an_fd_lacks_room_for_one() {
        assert!(ioctl(0x4018_7542).may(TooManyFiles) && !ioctl(0xc068_64b8).may(TooManyFiles));
        let fcntl =
            |command: i32| Call { number: libc::SYS_fcntl, args: [3, u64::try_from(command).unwrap(), 0, 0, 0, 0] };
        assert!(fcntl(libc::F_DUPFD_CLOEXEC).may(TooManyFiles) && !fcntl(libc::F_GETFD).may(TooManyFiles));
        assert!(!fcntl(libc::F_GETFD).may(Interrupted));
    }

    #[test]
    fn a_signal_interrupts_what_waits() {
        for call in [ioctl(0x4008_6200), Call { number: libc::SYS_ppoll, args: [0; 6] }] {
            assert!(call.may(Interrupted), "{}", call.name());
        }
        assert!(!Call { number: libc::SYS_close, args: [0; 6] }.may(Interrupted));
        assert!(!ioctl(0x4018_7542).may(Interrupted), "UDMABUF_CREATE waits for nothing");
    }

    #[test]
    fn what_ends_something_does_not_lack_what_it_would_take_to_make_it() {
        let gem_close = ioctl(0x4008_6409);
        assert!(!gem_close.may(NoMemory) && !gem_close.may(Busy) && gem_close.may(Interrupted));
        let syncobj_destroy = ioctl(0xc008_64c0);
        assert_eq!(syncobj_destroy.name(), "DRM_IOCTL_SYNCOBJ_DESTROY");
        assert!(!syncobj_destroy.may(NoMemory) && !syncobj_destroy.may(Busy));
    }
}
