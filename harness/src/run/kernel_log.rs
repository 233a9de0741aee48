//! What did the kernel say during a case, and is any of it a finding?
//!
//! [`KernelLog`] reads `/dev/kmsg` without blocking; [`finding`] is pure. The record format is that of
//! `Documentation/ABI/testing/dev-kmsg`: `level,sequence,time,flags;text`, continuation lines begin with a space. The kernel
//! keeps the last of them only; which it has lost shows in their numbers.

use std::io;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::compare::counted;

/// Where the log is read.
pub(super) const KMSG: &str = "/dev/kmsg";

/// The most lines kept of one look, beside those of a defect; a wedged kernel prints without end.
const MAX_LINES: usize = 400;

/// The most lines read in one look. The next one goes on from there.
const MAX_READ: usize = 100_000;

/// How many lines belong to a defect: the one that names it, registers and trace.
const SPLASH: usize = 24;

/// What a finding begins with.
pub(super) const WORDS: &str = "the kernel reported a defect: ";

/// A place in the kernel's log.
pub struct KernelLog {
    fd: OwnedFd,
    numbers: Numbers,
}

/// What the kernel said since the last look.
#[derive(Debug, Default)]
pub struct Said {
    /// The lines, oldest first: 400 of them, and the first defect wherever it is.
    pub lines: Vec<String>,
    /// So many more were overwritten before they could be read.
    pub lost: u64,
    /// Why it can't be read, or not to its end.
    pub failed: Option<String>,
}

impl Said {
    /// Of a log that can't be opened.
    pub fn unheard(why: &str) -> Self {
        Self { failed: Some(why.to_owned()), ..Self::default() }
    }
}

impl KernelLog {
    /// Opens the log behind what is there.
    ///
    /// # Errors
    /// Usually `EPERM`: the log is for root where `kernel.dmesg_restrict` is 1.
    pub fn open() -> io::Result<KernelLog> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(KMSG, flags, Mode::empty())?;
        let mut log = KernelLog { fd, numbers: Numbers::default() };
        // Read and not skipped, so that the number of the last line is known.
        log.take();
        Ok(log)
    }

    /// What was said since the last call.
    pub fn take(&mut self) -> Said {
        let mut excerpt = Excerpt::default();
        let (mut lost, mut failed) = (0, None);
        // One read is one record; the kernel's own limit on a record is below 8 KiB.
        let mut record = vec![0_u8; 8192];
        for _ in 0..MAX_READ {
            match rustix::io::read(&self.fd, record.as_mut_slice()) {
                Ok(0) => break,
                Ok(length) => {
                    let record = String::from_utf8_lossy(&record[..length]);
                    let missing = self.numbers.missing_before(&record);
                    if missing > 0 {
                        lost += missing;
                        excerpt.add(format!("({} here)", told_lost(missing)));
                    }
                    if let Some(line) = text_of(&record) {
                        excerpt.add(line);
                    }
                }
                // The ring was overwritten: the next read goes on with the oldest record there is, whose number tells.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => {
                    failed = Some(format!("{KMSG}: {errno}"));
                    break;
                }
            }
        }
        Said { lines: excerpt.lines(), lost, failed }
    }
}

/// `12 lines of the kernel's log were lost`.
fn told_lost(lines: u64) -> String {
    format!("{} of the kernel's log {} lost", counted(lines, "line"), if lines == 1 { "was" } else { "were" })
}

/// Which of its lines were lost, before a case and during it; `None` if none was.
pub(super) fn lost(before: u64, during: u64) -> Option<String> {
    let before = (before > 0).then(|| format!("{} before it began", told_lost(before)));
    let during = (during > 0).then(|| told_lost(during));
    let all: Vec<String> = before.into_iter().chain(during).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// The kernel's numbers of its lines.
#[derive(Debug, Default)]
struct Numbers {
    next: Option<u64>,
}

impl Numbers {
    /// How many lines are missing between the last record and this one.
    fn missing_before(&mut self, record: &str) -> u64 {
        let Some(number) = record.split(',').nth(1).and_then(|number| number.parse::<u64>().ok()) else { return 0 };
        self.next.replace(number + 1).map_or(0, |next| number.saturating_sub(next))
    }
}

/// What is kept of lines that may be too many: the first of them, and the first defect with what belongs to it.
#[derive(Debug)]
struct Excerpt {
    kept: Vec<String>,
    /// So many more are kept.
    room: usize,
    has_defect: bool,
    /// Lines since the last one that was kept.
    left_out: usize,
}

impl Default for Excerpt {
    fn default() -> Self {
        Self { kept: Vec::new(), room: MAX_LINES, has_defect: false, left_out: 0 }
    }
}

impl Excerpt {
    fn add(&mut self, line: String) {
        if !self.has_defect && is_defect(&line) {
            self.has_defect = true;
            self.room = self.room.max(SPLASH);
        }
        match self.room.checked_sub(1) {
            Some(room) => {
                self.say_left_out();
                self.kept.push(line);
                self.room = room;
            }
            None => self.left_out += 1,
        }
    }

    fn say_left_out(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            self.kept.push(format!("({left_out} more lines)"));
        }
    }

    fn lines(mut self) -> Vec<String> {
        self.say_left_out();
        self.kept
    }
}

/// The last `count` lines, and before them the first defect if it is further up.
pub(super) fn tail(lines: &[&str], count: usize) -> Vec<String> {
    let (above, last) = lines.split_at(lines.len().saturating_sub(count));
    let mut kept = Vec::new();
    if let Some(at) = above.iter().position(|line| is_defect(line)) {
        let splash = &above[at..above.len().min(at + SPLASH)];
        kept.extend(splash.iter().map(|line| (*line).to_owned()));
        match above.len() - at - splash.len() {
            0 => {}
            more => kept.push(format!("({more} more lines)")),
        }
    }
    kept.extend(last.iter().map(|line| (*line).to_owned()));
    kept
}

/// The text of one record without its prefix and its device properties.
///
/// Records of user space (facility not 0, such as init's messages) are nothing the kernel said.
fn text_of(record: &str) -> Option<String> {
    let (prefix, text) = record.split_once(';')?;
    let level: u32 = prefix.split(',').next()?.parse().ok()?;
    (level >> 3 == 0).then(|| text.lines().next().unwrap_or("").to_owned())
}

/// How a line begins when the kernel has found a defect in itself; the words are its own. WARN's line has had
/// two forms (`WARNING: CPU: 0 PID: 31 at …`, `WARNING: drivers/…:24 at …, CPU#0`), lockdep has one per rule.
const BEGINS: &[&str] =
    &["WARNING: ", "BUG ", "BUG: ", "Oops", "INFO: rcu_", "INFO: possible ", "INFO: trying to register"];

/// What such a line holds when something else may stand before it: a driver's prefix, a task's name.
const HOLDS: &[&str] = &[
    "WARNING: CPU:",
    "BUG: KASAN:",
    "BUG: soft lockup",
    "hard LOCKUP",
    // Lockdep: `[ BUG: Invalid wait context ]`, and what it says when it has nothing more to say.
    "[ BUG: ",
    "INFO: lockdep is turned off",
    "kernel BUG at",
    "Kernel BUG at",
    "Kernel panic",
    "general protection fault",
    "Unable to handle kernel",
    "blocked for more than",
    "detected stall",
    "UBSAN: ",
    "KCSAN: ",
    "DMA-API: ",
    "refcount_t: ",
    "list_add corruption",
    "list_del corruption",
    "scheduling while atomic",
    "scheduling from the idle thread",
    "sleeping function called from invalid context",
    // A GPU that hung, by driver: i915, amdgpu, xe, the scheduler's own, msm, NVIDIA's.
    "GPU HANG",
    "GPU reset begin",
    "Timedout job",
    "gpu sched timeout",
    "hangcheck detected gpu lockup",
    "NVRM: Xid",
    "recover hung GPU",
    "Resetting GPU for hang",
    // A device reached for a page that it has not, or not any more: AMD's, Intel's and Arm's IOMMU, GPUs' own tables.
    "IO_PAGE_FAULT",
    "DMAR: [DMA ",
    "Unhandled context fault",
    "page fault (src_id:",
    "VM_L2_PROTECTION_FAULT",
    "Engine memory CAT error",
    "Unhandled Page fault",
    // A commit whose fence or flip never came (`drm_atomic_helper.c`).
    "flip_done timed out",
    "hw_done timed out",
    "commit wait timed out",
    // kmemleak's own scan, which tells no more than that.
    "suspected memory leaks",
    // videobuf2 with CONFIG_VIDEO_ADV_DEBUG: calls of a driver's queue that must come in pairs and did not.
    "UNBALANCED!",
    "ODEBUG: ",
    "lock held when returning to user space",
    "unreferenced object ",
];

fn is_defect(line: &str) -> bool {
    // A console has the time in front: `[    4.210000] `.
    let line = line.trim_start();
    let line = line.strip_prefix('[').and_then(|line| line.split_once("] ")).map_or(line, |(_, text)| text);
    // A process of anybody's that took a wrong address, as `segfault at` is.
    let is_a_process = line.starts_with("traps: ");
    !is_a_process
        && (BEGINS.iter().any(|words| line.starts_with(words)) || HOLDS.iter().any(|words| line.contains(words)))
}

/// The first defect that the lines report, with the lines that belong to it; `None` if there is none.
pub fn finding(lines: &[String]) -> Option<String> {
    let at = lines.iter().position(|line| is_defect(line))?;
    let shown: Vec<&str> = lines[at..].iter().take(SPLASH).map(String::as_str).collect();
    let rest = lines.len() - at - shown.len();
    let more = if rest > 0 { format!("\n    ({rest} more lines)") } else { String::new() };
    Some(format!("{WORDS}{}\n\n    {}{more}", lines[at].trim(), shown.join("\n    ")))
}

/// Where the last segmentation fault was: a library by its file's name, without the addresses, which differ from run to run.
///
/// The last one, since who dies of it says nothing any more, and those that it has started end otherwise.
pub(super) fn place_of_segfault(lines: &[String]) -> String {
    let segfault = lines.iter().rev().find_map(|line| line.split_once("]: segfault at ")).map(|(_, how)| how);
    match segfault.map(|how| how.split_once(" in ")) {
        Some(Some((_, file))) => format!("in {}", file.split('[').next().unwrap_or(file).trim()),
        // The kernel names no file where none is mapped.
        Some(None) => "in code of no file, as a driver makes at run time".to_owned(),
        None => "at a place that no kernel log tells".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn defects_are_found_with_their_trace() {
        for (log, headline) in [
            (
                "[drm] vkms connected\n------------[ cut here ]------------\n\
                 WARNING: CPU: 0 PID: 31 at drivers/gpu/drm/vkms/vkms_crtc.c:24 vkms_vblank_simulate+0x1f0/0x210\n\
                 Modules linked in:\nCPU: 0 UID: 0 PID: 31 Comm: worker Not tainted 7.3.4 #1",
                "WARNING: CPU: 0 PID: 31 at drivers/gpu/drm/vkms/vkms_crtc.c:24",
            ),
            (
                "BUG: KASAN: slab-use-after-free in dma_buf_release+0x84/0x120\nRead of size 8 at addr ffff",
                "BUG: KASAN: slab-use-after-free in dma_buf_release",
            ),
            ("[   12.340000] BUG: KASAN: slab-out-of-bounds in vkms_compose", "BUG: KASAN: slab-out-of-bounds"),
            ("BUG: scheduling while atomic: swapper/0/0x00000002", "BUG: scheduling while atomic"),
            ("BUG: unable to handle page fault for address: 0000000000001000", "BUG: unable to handle page fault"),
            ("Oops: Oops: 0002 [#1] SMP NOPTI", "Oops: Oops: 0002"),
            ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [worker:31]", "BUG: soft lockup"),
            ("watchdog: Watchdog detected hard LOCKUP on cpu 1", "hard LOCKUP"),
            (
                "======================================================\n\
                 WARNING: possible circular locking dependency detected\n7.3.4 #1 Not tainted",
                "WARNING: possible circular locking dependency detected",
            ),
            ("refcount_t: underflow; use-after-free.", "refcount_t: underflow"),
            ("INFO: task worker:31 blocked for more than 120 seconds.", "INFO: task worker:31 blocked"),
            ("UBSAN: shift-out-of-bounds in drivers/gpu/drm/drm_fb.c:12:3", "UBSAN: shift-out-of-bounds"),
            (
                "DMA-API: device driver maps memory from stack [addr=0000]",
                "DMA-API: device driver maps memory from stack",
            ),
            (
                "WARNING: drivers/gpu/drm/drm_gem.c:287 at drm_gem_object_handle_put_unlocked+0x9c/0xb0, CPU#1: worker/31",
                "WARNING: drivers/gpu/drm/drm_gem.c:287",
            ),
            ("i915 0000:00:02.0: [drm] GPU HANG: ecode 9:1:85dffffb", "GPU HANG"),
            ("amdgpu 0000:0b:00.0: amdgpu: GPU reset begin!", "GPU reset begin"),
            ("xe 0000:03:00.0: [drm] GT0: Timedout job: seqno=4294967169, guc_id=2, flags=0x0", "Timedout job"),
            ("NVRM: Xid (PCI:0000:01:00): 31, pid=712, name=handover, MMU Fault", "NVRM: Xid"),
            (
                "AMD-Vi: Event logged [IO_PAGE_FAULT device=0b:00.0 domain=0x0014 address=0x7f00 flags=0x0020]",
                "IO_PAGE_FAULT",
            ),
            (
                "DMAR: [DMA Write NO_PASID] Request device [00:02.0] fault addr 0xfe000000 [fault reason 0x05]",
                "DMAR: [DMA Write",
            ),
            ("arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0xfe000000", "Unhandled context fault"),
            ("amdgpu 0000:0b:00.0: [gfxhub] page fault (src_id:0 ring:24 vmid:3 pasid:32770)", "page fault (src_id:"),
            ("xe 0000:03:00.0: [drm] *ERROR* [CRTC:80:pipe A] flip_done timed out", "flip_done timed out"),
            (
                "[drm:drm_atomic_helper_wait_for_dependencies] *ERROR* [CRTC:80:pipe A] commit wait timed out",
                "commit wait timed out",
            ),
            ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", "suspected memory leaks"),
            // As the sandbox's debugging kernel prints them; `sandbox::defects_of_the_kernel_fail_their_case` provokes them.
            (
                "lkdtm: Performing direct entry WRITE_AFTER_FREE\n\
                 ==================================================================\n\
                 BUG: KASAN: slab-use-after-free in lkdtm_WRITE_AFTER_FREE+0xab/0x120\n\
                 Write of size 4 at addr 00000000666d4a00 by task sh/45",
                "BUG: KASAN: slab-use-after-free in lkdtm_WRITE_AFTER_FREE",
            ),
            (
                "------------[ cut here ]------------\n\
                 UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/bugs.c:458:16\n\
                 index 8 is out of range for type 'char [8]'",
                "UBSAN: array-index-out-of-bounds in drivers/misc/lkdtm/bugs.c:458:16",
            ),
            (
                " non-slab/vmalloc memory\n------------[ cut here ]------------\n\
                 WARNING: lib/list_debug.c:29 at __list_add_valid_or_report+0x140/0x1fe, CPU#0: sh/37\n\
                 list_add corruption. next->prev should be prev (00000000666afbe0), but was 0000000000000000.",
                "WARNING: lib/list_debug.c:29 at __list_add_valid_or_report",
            ),
            (
                "WARNING: lib/refcount.c:22 at refcount_warn_saturate+0x114/0x310, CPU#0: sh/53\n\
                 refcount_t: saturated; leaking memory.",
                "WARNING: lib/refcount.c:22",
            ),
            (
                "WARNING: possible recursive locking detected\n7.3.4-sandbox-debug #2 Not tainted\n\
                 --------------------------------------------\nhandover/31 is trying to acquire lock:",
                "WARNING: possible recursive locking detected",
            ),
            ("INFO: task handover:31 blocked for more than 20 seconds.", "blocked for more than 20 seconds"),
            (
                "=============================\n[ BUG: Invalid wait context ]\n7.3.4-sandbox-debug #2 Not tainted",
                "[ BUG: Invalid wait context ]",
            ),
            ("[    4.210000] [ BUG: Invalid wait context ]", "BUG: Invalid wait context"),
            ("INFO: lockdep is turned off.", "INFO: lockdep is turned off"),
            ("ODEBUG: free active (active state 0) object: 0000000061f1c8c0 object type: timer_list", "free active"),
            ("videobuf2_common: [cap-0] counters for queue 00000000, buffer 0: UNBALANCED!", "UNBALANCED!"),
        ] {
            let found = finding(&lines(log)).unwrap_or_else(|| panic!("nothing found in {log}"));
            let first = found.lines().next().unwrap();
            assert!(first.contains(headline), "{first}");
        }
    }

    #[test]
    fn ordinary_lines_are_not_findings() {
        let log = "vivid-000: contiguous chunk is too small 917504/921600\n\
                   [drm] Initialized vkms 1.0.0 for vkms on minor 0\n\
                   warning: `handover' uses a deprecated ioctl\n\
                   random: crng init done\n\
                   udmabuf: DEBUG build\n\
                   INFO: task scheduling starts\n\
                   worker[31]: segfault at 0 ip 00007f sp 00007f error 4 in libvulkan_lvp.so\n\
                   traps: firefox[712] general protection fault ip:55d0 sp:7ffd error:0 in libxul.so[55d0+1000]";
        assert_eq!(finding(&lines(log)), None);
    }

    #[test]
    fn a_segfault_is_in_the_file_that_the_kernel_names() {
        let place = |text: &str| place_of_segfault(&lines(text));
        let layer = "handover[21]: segfault at 551804418c30 ip 00000000517527b6 sp 00007f7fffa06760 error 4 in \
                     libVkLayer_khronos_validation.so[c697b6,50d8c000+1095000]";
        let made = "handover[26]: segfault at 5f919000 ip 0000000043d19e9f sp 00000000439dd4c0 error 0";
        assert_eq!(place(layer), "in libVkLayer_khronos_validation.so");
        assert!(place(made).starts_with("in code of no file"));
        assert_eq!(place(&format!("{made}\n{layer}\nreboot: Power down")), place(layer), "the last one");
        assert!(place("reboot: Power down").contains("no kernel log tells"));
    }

    #[test]
    fn a_record_gives_its_text_and_user_space_is_left_out() {
        assert_eq!(
            text_of("6,339,5140900,-;NET: Registered PF_INET6 protocol family\n SUBSYSTEM=net\n").as_deref(),
            Some("NET: Registered PF_INET6 protocol family")
        );
        assert_eq!(text_of("30,340,5140901,-;init: BUG: says init").as_deref(), None);
        assert_eq!(text_of("rubbish"), None);
    }

    #[test]
    fn lines_that_were_overwritten_are_counted() {
        let mut numbers = Numbers::default();
        let missing = ["6,339,1,-;a", "6,340,2,-;b\n SUBSYSTEM=net\n", "rubbish", "30,352,3,-;init: c", "6,353,4,-;d"]
            .map(|record| numbers.missing_before(record));
        assert_eq!(missing, [0, 0, 0, 11, 0]);
        assert_eq!(lost(0, 0), None);
        let both = "1 line of the kernel's log was lost before it began; 11 lines of the kernel's log were lost";
        assert_eq!(lost(1, 11).as_deref(), Some(both));
    }

    #[test]
    fn a_defect_is_found_behind_any_number_of_lines() {
        let mut log: Vec<String> = (0..1000).map(|i| format!("line {i}")).collect();
        log.push("BUG: KASAN: x".to_owned());
        log.extend((0..100).map(|i| format!(" frame {i}")));
        let mut excerpt = Excerpt::default();
        log.iter().for_each(|line| excerpt.add(line.clone()));
        let kept = excerpt.lines();
        assert_eq!(kept.len(), MAX_LINES + 1 + SPLASH + 1);
        assert_eq!((kept[MAX_LINES].as_str(), kept[kept.len() - 1].as_str()), ("(600 more lines)", "(77 more lines)"));
        assert!(finding(&kept).is_some_and(|found| found.contains("frame 22")));

        let log: Vec<&str> = log.iter().map(String::as_str).collect();
        let last = tail(&log, 60);
        assert!(finding(&last).is_some_and(|found| found.contains("BUG: KASAN: x")), "{last:?}");
        assert_eq!((last[0].as_str(), last.len()), ("BUG: KASAN: x", SPLASH + 1 + 60));
        assert_eq!(tail(&log[..50], 60), log[..50]);
    }

    #[test]
    fn a_long_trace_is_cut() {
        let mut log = vec!["BUG: KASAN: x".to_owned()];
        log.extend((0..100).map(|i| format!(" frame {i}")));
        let found = finding(&log).unwrap();
        assert!(found.contains("frame 22") && !found.contains("frame 23"), "{found}");
        assert!(found.ends_with("(77 more lines)"), "{found}");
    }
}
