//! Which system calls are stopped: a program for the kernel's packet filter. Pure.
//!
//! Source: "Seccomp BPF" in the kernel's documentation; `struct seccomp_data` in `include/uapi/linux/seccomp.h`.

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF};

/// `AUDIT_ARCH_*` of this machine, in `include/uapi/linux/audit.h`: call numbers mean something else elsewhere.
pub(crate) const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const SECOND_ARGUMENT: u32 = 24;
const FIFTH_ARGUMENT: u32 = 48;

/// The system calls that wait for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    calls: Vec<i64>,
    ioctls: Vec<u32>,
    /// All calls but `calls` are stopped.
    inverted: bool,
    /// `mmap` of no file is not stopped, whatever else is said of `mmap`.
    spares_memory: bool,
}

/// One instruction, as `struct sock_filter` has it: code, two jumps, and a constant.
pub(crate) type Instruction = (u16, u8, u8, u32);

impl Filter {
    /// These system calls (`SYS_*`).
    pub fn calls(calls: &[i64]) -> Self {
        Self { calls: calls.to_vec(), ..Self::default() }
    }

    /// `ioctl` with one of these numbers.
    pub fn ioctls(numbers: &[u32]) -> Self {
        Self { ioctls: numbers.to_vec(), ..Self::default() }
    }

    /// Every system call but these.
    pub fn all_but(calls: &[i64]) -> Self {
        Self { calls: calls.to_vec(), inverted: true, ..Self::default() }
    }

    /// What both stop.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.calls.extend(&other.calls);
        self.ioctls.extend(&other.ioctls);
        self.spares_memory |= other.spares_memory;
        self
    }

    /// The same but for `mmap` of no file: memory, of which there is too much.
    #[must_use]
    pub fn sparing_memory(self) -> Self {
        Self { spares_memory: true, ..self }
    }

    /// Whether it stops a call of this number, which is the ioctl of this number if it is one.
    pub(crate) fn stops(&self, call: i64, ioctl: u32) -> bool {
        let is_named = self.calls.contains(&call) || call == libc::SYS_ioctl && self.ioctls.contains(&ioctl);
        is_named != self.inverted
    }

    /// The program for the kernel.
    pub(crate) fn program(&self, architecture: u32) -> Vec<Instruction> {
        let load = |offset: u32| ((BPF_LD | BPF_W | BPF_ABS) as u16, 0, 0, offset);
        // The next instruction if it is equal, else the one after that.
        let unless_equal_skip = |value: u32| ((BPF_JMP | BPF_JEQ | BPF_K) as u16, 0, 1, value);
        let answer = |answer: u32| ((BPF_RET | BPF_K) as u16, 0, 0, answer);
        let (named, others) = match self.inverted {
            false => (SECCOMP_RET_USER_NOTIF, SECCOMP_RET_ALLOW),
            true => (SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF),
        };
        // Of another architecture: skip over one instruction if equal.
        let mut program = vec![load(ARCH), ((BPF_JMP | BPF_JEQ | BPF_K) as u16, 1, 0, architecture)];
        program.extend([answer(SECCOMP_RET_ALLOW), load(NUMBER)]);
        if self.spares_memory {
            // The lower half of an fd of -1, on a machine that has it first; then the number once more.
            program.push(((BPF_JMP | BPF_JEQ | BPF_K) as u16, 0, 4, libc::SYS_mmap as u32));
            program.extend([
                load(FIFTH_ARGUMENT),
                unless_equal_skip(u32::MAX),
                answer(SECCOMP_RET_ALLOW),
                load(NUMBER),
            ]);
        }
        for call in &self.calls {
            program.extend([unless_equal_skip(*call as u32), answer(named)]);
        }
        if !self.ioctls.is_empty() {
            program.extend([((BPF_JMP | BPF_JEQ | BPF_K) as u16, 1, 0, libc::SYS_ioctl as u32), answer(others)]);
            program.push(load(SECOND_ARGUMENT));
            for number in &self.ioctls {
                program.extend([unless_equal_skip(*number), answer(named)]);
            }
        }
        program.push(answer(others));
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u32 = 0xc000_003e;

    /// What the kernel would say of a call.
    fn ask(filter: &Filter, arch: u32, call: u32, second: u32) -> u32 {
        let program = filter.program(HERE);
        let (mut at, mut loaded) = (0, 0);
        loop {
            let (code, equal, other, value) = program[at];
            at += 1;
            match u32::from(code) {
                code if code == BPF_RET | BPF_K => return value,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if loaded == value { equal } else { other });
                }
                _ => {
                    // The second argument stands for the fifth, too.
                    loaded = [(ARCH, arch), (NUMBER, call), (SECOND_ARGUMENT, second), (FIFTH_ARGUMENT, second)]
                        .iter()
                        .find(|(at, _)| *at == value)
                        .map_or(0, |(_, value)| *value)
                }
            }
        }
    }

    #[test]
    fn only_what_is_named_is_stopped() {
        let ioctl = libc::SYS_ioctl as u32;
        let filter = Filter::ioctls(&[0xc068_64b8, 0x4008_6200]).and(&Filter::calls(&[libc::SYS_close]));
        let stopped = |arch, call, second| ask(&filter, arch, call, second) == SECCOMP_RET_USER_NOTIF;
        assert!(stopped(HERE, ioctl, 0xc068_64b8) && stopped(HERE, ioctl, 0x4008_6200));
        assert!(stopped(HERE, libc::SYS_close as u32, 0));
        assert!(!stopped(HERE, ioctl, 0x4008_6201) && !stopped(HERE, libc::SYS_read as u32, 0x4008_6200));
        assert!(filter.stops(libc::SYS_ioctl, 0x4008_6200) && filter.stops(libc::SYS_close, 0x4008_6201));
        assert!(!filter.stops(libc::SYS_ioctl, 0x4008_6201) && !filter.stops(libc::SYS_read, 0x4008_6200));
        assert!(!stopped(0x4000_0003, ioctl, 0xc068_64b8), "a call of 32 bits has other numbers");
    }

    #[test]
    fn memory_of_no_file_is_spared() {
        let filter = Filter::calls(&[libc::SYS_mmap, libc::SYS_openat]).sparing_memory();
        let of_mmap = |fd| ask(&filter, HERE, libc::SYS_mmap as u32, fd);
        assert_eq!((of_mmap(u32::MAX), of_mmap(3)), (SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF));
        assert_eq!(ask(&filter, HERE, libc::SYS_openat as u32, u32::MAX), SECCOMP_RET_USER_NOTIF);
        assert_eq!(ask(&filter, HERE, libc::SYS_close as u32, 0), SECCOMP_RET_ALLOW);
    }

    #[test]
    fn all_but_some_are_stopped() {
        let filter = Filter::all_but(&[libc::SYS_futex]);
        assert_eq!(ask(&filter, HERE, libc::SYS_read as u32, 0), SECCOMP_RET_USER_NOTIF);
        assert_eq!(ask(&filter, HERE, libc::SYS_futex as u32, 0), SECCOMP_RET_ALLOW);
    }
}
