//! Which memory of the kernel has nobody a pointer to any more, and in which case was it allocated?
//!
//! Where the kernel keeps track of that ("Kernel Memory Leak Detector" in its documentation), as the sandbox's debugging one
//! does, a worker asks it once its devices are closed. An object counts only when it is older than 5 s, so that wait comes first.

use std::fs;
use std::time::Duration;

use crate::lane::DEBUG_RELEASE;

/// The kernel's list, where there is one.
const LIST: &str = "/sys/kernel/debug/kmemleak";

/// How old an object has to be, and some more.
const OLD: Duration = Duration::from_millis(5500);

/// Between two looks at the same memory, the second of which confirms the first.
const BETWEEN: Duration = Duration::from_millis(200);

/// How many objects are told of; a leak in every case is told of by the first of them, and by their number.
const TOLD: usize = 20;

/// Where the kernel tells what time it is in the steps that it notes with each object: how long they are, and where they begin,
/// is its own affair.
const TIMERS: &str = "/proc/timer_list";

/// Keeps track of when which case ran.
#[derive(Debug, Default)]
pub(super) struct Leaks {
    began: Vec<(u64, String)>,
}

/// An object that nobody has a pointer to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lost {
    /// Its first line: address and size.
    what: String,
    /// When it was allocated.
    jiffies: u64,
    /// Who allocated it, the innermost first.
    trace: Vec<String>,
}

impl Leaks {
    /// Begins to keep track, where the kernel does. What is lost by now is nobody's here.
    ///
    /// A kernel may have the list and not keep it (`kmemleak=off`). That is one more machine without, but for the kernel that is
    /// run for its reports: there [`Leaks::lost`] will say so.
    pub(super) fn watch() -> Option<Self> {
        // A word that it does not know is EINVAL where it is on, and EPERM where it is off.
        let asked = fs::write(LIST, "whether it is on");
        let is_on = asked.is_err_and(|why| why.raw_os_error() == Some(libc::EINVAL));
        let is_for_reports = || rustix::system::uname().release().to_bytes().ends_with(DEBUG_RELEASE.as_bytes());
        (is_on || fs::metadata(LIST).is_ok() && is_for_reports()).then(Self::default)
    }

    /// A case begins.
    pub(super) fn began(&mut self, case: &str) {
        if let Some(now) = jiffies() {
            self.began.push((now, case.to_owned()));
        }
    }

    /// What was lost since the first case, each in a line; says so if the kernel does not tell.
    pub(super) fn lost(&self) -> Option<String> {
        if self.began.is_empty() {
            return None;
        }
        std::thread::sleep(OLD);
        let scan = || fs::write(LIST, "scan");
        let scanned = scan().and_then(|()| {
            std::thread::sleep(BETWEEN);
            scan()
        });
        match scanned.and_then(|()| fs::read_to_string(LIST)) {
            Ok(list) => self.all_of(&parse(&list)),
            Err(error) => Some(format!("kmemleak can't be asked: {LIST}: {error}")),
        }
    }

    fn all_of(&self, lost: &[Lost]) -> Option<String> {
        let told: Vec<String> = lost.iter().filter_map(|lost| self.told(lost)).collect();
        let more = match told.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("\n({more} more)"),
        };
        let shown = told[..told.len().min(TOLD)].join("\n");
        (!told.is_empty()).then(|| format!("memory of the kernel is lost:\n{shown}{more}"))
    }

    fn told(&self, lost: &Lost) -> Option<String> {
        let (_, case) = self.began.iter().rev().find(|(began, _)| *began <= lost.jiffies)?;
        let trace = lost.trace.iter().take(6).map(String::as_str).collect::<Vec<_>>().join(" < ");
        Some(format!("{}, allocated in {case} or while it began, by {trace}", lost.what))
    }
}

/// Now, as the kernel counts.
fn jiffies() -> Option<u64> {
    jiffies_of(&fs::read_to_string(TIMERS).ok()?)
}

/// Every processor's part of the list has them; they are the same but for what passes meanwhile.
fn jiffies_of(timers: &str) -> Option<u64> {
    timers.lines().find_map(|line| line.trim_start().strip_prefix("jiffies: ")?.trim().parse().ok())
}

fn parse(list: &str) -> Vec<Lost> {
    let mut all: Vec<Lost> = Vec::new();
    let mut in_trace = false;
    for line in list.lines() {
        if line.starts_with("unreferenced object ") {
            let what = line.trim_end_matches(':').to_owned();
            all.push(Lost { what, jiffies: 0, trace: Vec::new() });
            in_trace = false;
            continue;
        }
        let Some(lost) = all.last_mut() else { continue };
        if let Some((_, rest)) = line.split_once(", jiffies ") {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            lost.jiffies = digits.parse().unwrap_or_default();
        } else if line.trim_start().starts_with("backtrace") {
            in_trace = true;
        } else if in_trace {
            let name = line.rsplit(']').next().unwrap_or(line).trim();
            lost.trace.push(name.split('+').next().unwrap_or(name).to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
unreferenced object 0x0000000061f1c8c0 (size 64):
  comm \"handover\", pid 31, jiffies 4294937400
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 6c7e4ab4):
    [<00000000602c3d4e>] __kmalloc_noprof+0x1a4/0x2c0
    [<0000000060451234>] vkms_atomic_crtc_duplicate_state+0x40/0x90
unreferenced object 0x0000000061f1d000 (size 192):
  comm \"swapper\", pid 1, jiffies 4294937297 (age 12.340s)
  backtrace:
    [<00000000602c3d4e>] kmem_cache_alloc_noprof+0x1a4/0x2c0
";

    #[test]
    fn the_kernels_time_is_in_its_list_of_timers() {
        let timers = "Timer List Version: v0.10\nnow at 4210000000 nsecs\n\ncpu: 0\n clock 0:\n  .nohz           : 0\n\
                      jiffies: 4294937386\n";
        assert_eq!(jiffies_of(timers), Some(4_294_937_386));
        assert_eq!(jiffies_of("Timer List Version: v0.10\n"), None);
    }

    #[test]
    fn an_object_is_of_the_case_that_ran_when_it_was_allocated() {
        let parsed = parse(LIST);
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0].trace, ["__kmalloc_noprof", "vkms_atomic_crtc_duplicate_state"]);
        let began = [(4_294_937_390, "a::b_works".to_owned()), (4_294_937_410, "a::c_works".to_owned())];
        let leaks = Leaks { began: began.into() };
        let told: Vec<_> = parsed.iter().filter_map(|lost| leaks.told(lost)).collect();
        assert_eq!(
            told,
            ["unreferenced object 0x0000000061f1c8c0 (size 64), allocated in a::b_works or while it began, by \
              __kmalloc_noprof < vkms_atomic_crtc_duplicate_state"],
            "what the kernel lost while it started is no case's"
        );
        assert_eq!(leaks.all_of(&parsed[1..]), None);
        let all = leaks.all_of(&vec![parsed[0].clone(); TOLD + 3]).unwrap();
        assert!(all.starts_with("memory of the kernel is lost:\nunreferenced") && all.ends_with("\n(3 more)"), "{all}");
    }
}
