//! The cases that misbehave on purpose, and the bench that they run on.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use handover::case::{Bench, CaseNotes, CaseStart, Cases, DeviceIdentity, Need, Role, Trouble};
use handover::cx::Cx;
use handover::faults::{Faults, Thread};
use handover::finding::Finding;
use handover::format::Fourcc;
use handover::frame::{Frame, Plane, px};
use handover::share::agreement::Agreement;

use super::wild;

/// A bench with one device, the processor; enough to see needs, sides and notes.
pub(crate) struct Desk {
    start: Option<CaseStart>,
    left_open: bool,
    /// Its driver exits when it is closed.
    bad_end: bool,
    /// The kernel objects when it is closed.
    objects_at_the_end: bool,
    /// Where its process was when it began.
    began_in: PathBuf,
    /// What counts what a case of [`LEAKS`] holds, as it does for real cases.
    real: Cx,
}

/// The family of cases that leave something open.
const LEAKS: &str = "leak::";

impl Drop for Desk {
    fn drop(&mut self) {
        if self.objects_at_the_end {
            let _ = have_the_kernel_say(DEFECT);
        }
        if self.bad_end {
            std::process::exit(7);
        }
    }
}

impl Bench for Desk {
    fn new() -> Desk {
        let began_in = std::env::current_dir().unwrap_or_default();
        Desk { start: None, left_open: false, bad_end: false, objects_at_the_end: false, began_in, real: Cx::new() }
    }

    fn identify(&mut self, role: Role) -> Option<DeviceIdentity> {
        (role == Role::Cpu).then(|| DeviceIdentity { name: "this processor".into(), driver: String::new() })
    }

    fn missing(&mut self, need: &Need) -> Result<Option<String>, Trouble> {
        Ok((*need != Need::Device(Role::Cpu)).then(|| "this machine has a processor and nothing else".into()))
    }

    fn begin(&mut self, start: CaseStart) {
        if start.name.starts_with(LEAKS) {
            self.real.begin(start.clone());
        }
        self.start = Some(start);
        self.left_open = false;
    }

    fn end(&mut self, _: bool) -> CaseNotes {
        if self.start.as_ref().is_some_and(|start| start.name.starts_with(LEAKS)) {
            return self.real.end(false);
        }
        let findings = match self.left_open {
            true => vec!["1 dma-buf was left open".to_owned()],
            false => vec![],
        };
        CaseNotes { findings, ..CaseNotes::default() }
    }
}

/// How many short cases there are, for tests that end a run in the middle.
pub(crate) const MANY: usize = 40;

/// What a case waits for in vain.
static SET: AtomicBool = AtomicBool::new(false);

pub(crate) fn register(cases: &mut Cases<Desk>) {
    good(cases);
    bad(cases);
    leaks(cases);
    known(cases);
    order(cases);

    defects(cases);
    objections(cases);
    walked(cases);
    for number in 0..MANY {
        cases.add(format!("many::case_{number}_passes"), |_| {
            std::thread::sleep(Duration::from_millis(5));
            Ok(())
        });
    }

    cases.add("skip::needs_a_gpu", |_| Ok(())).from(Role::GpuA).to(Role::GpuB);
    cases.add("skip::says_so_itself", |_| Err(Trouble::Skip("needs a Tuesday".into())));
}

fn good(cases: &mut Cases<Desk>) {
    cases.add("good::passes", |_| Ok(())).from(Role::Cpu).to(Role::Cpu);
    cases.add("good::passes_again", |_| Ok(()));
    cases.add("good::prints_and_passes", |_| {
        print("nobody needs to see this\n");
        Ok(())
    });
}

fn bad(cases: &mut Cases<Desk>) {
    cases.add("bad::fails", |_| {
        print("a driver's own words, without an end of line");
        Err(found("12 of 30 pixels differ"))
    });
    cases.add("bad::leaves_something_open", |desk| {
        desk.left_open = true;
        Ok(())
    });
    cases.add("bad::panics", |_| panic!("an index of 7 in 3 planes"));
    cases.add("bad::aborts", |_| std::process::abort());
    cases.add("bad::touches_memory_that_is_not_there", |_| {
        print("the last words\n");
        let read = wild::read_nowhere();
        Err(found(&format!("a read of nothing gave {read}")))
    });
    cases.add("bad::exits_without_a_word", |_| std::process::exit(0));
    cases.add("bad::hangs", |_| {
        print("about to wait for a fence\n");
        hang()
    });
    cases.add("bad::hangs_without_a_call", |_| {
        print("about to look at a flag that nobody sets\n");
        while !SET.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        Ok(())
    });
    cases.add("bad::hangs_in_a_system_call", |_| {
        print("about to read what nobody writes\n");
        let (mut reader, writer) = std::io::pipe().map_err(|error| found(&error.to_string()))?;
        let read = reader.read(&mut [0]);
        drop(writer);
        Err(found(&format!("a read of an empty pipe gave {read:?}")))
    });
    cases.add("bad::hangs_where_no_signal_wakes_it", |_| {
        print("about to wait for a child that shares this memory\n");
        wild::sleep_in_the_kernel();
        Err(found("the child was through"))
    });
    cases.add("bad::prints_megabytes", |_| {
        let line = "all work and no play\n".repeat(1000);
        (0..300).for_each(|_| print(&line));
        Err(found("it was too much"))
    });
    cases.add("bad::writes_on_the_protocol", |_| {
        write_on_every_pipe();
        hang()
    });
    cases.add("bad::panics_its_kernel", |_| {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if !cpu.contains("User Mode Linux") {
            return Err(Trouble::Skip("needs a kernel of its own".into()));
        }
        match std::fs::write("/proc/sysrq-trigger", "c") {
            Ok(()) => hang(),
            Err(error) => Err(found(&error.to_string())),
        }
    });
    // The test that runs this one kills the worker, which it finds by this file.
    cases.add("bad::waits_to_be_killed", |desk| {
        let start = desk.start.as_ref().expect("a case has begun");
        let written = std::fs::create_dir_all(&start.artifacts)
            .and_then(|()| std::fs::write(start.artifacts.join("pid"), std::process::id().to_string()));
        match written {
            Ok(()) => hang(),
            Err(error) => Err(found(&error.to_string())),
        }
    });
}

/// Cases that leave something open, each of which passes but for that.
fn leaks(cases: &mut Cases<Desk>) {
    cases.add("leak::leaves_nothing_open", |_| {
        drop(handover::udmabuf::create(4096).ok());
        Ok(())
    });
    cases.add("leak::leaves_a_file_open", |_| {
        std::mem::forget(std::fs::File::open("/dev/null").map_err(|error| found(&error.to_string()))?);
        Ok(())
    });
    cases.add("leak::leaves_a_buffer_open", |_| match handover::udmabuf::create(4096) {
        Ok((buffer, _pages)) => {
            std::mem::forget(buffer);
            Ok(())
        }
        Err(error) => Err(Trouble::Skip(format!("needs udmabuf: {error}"))),
    });
    cases.add("leak::leaves_a_mapping", |_| match handover::udmabuf::create(4096) {
        Ok((buffer, _pages)) => wild::map_for_good(&buffer.fd, 4096).map_err(|error| found(&error.to_string())),
        Err(error) => Err(Trouble::Skip(format!("needs udmabuf: {error}"))),
    });
    cases.add("leak::leaves_a_gem_handle", |desk| {
        let card = desk.real.prime(Role::Vgem)?;
        let (buffer, _pages) = handover::udmabuf::create(4096).map_err(|error| found(&error.to_string()))?;
        std::mem::forget(card.import(&buffer).map_err(|error| found(&error.to_string()))?);
        Ok(())
    });
    cases.add("leak::leaves_a_device_attached", |desk| {
        let card = desk.real.prime(Role::Vgem)?;
        let kept = handover::ledger::keeping(|| "what stays".to_owned(), || handover::udmabuf::create(4096));
        let (buffer, _pages) = kept.map_err(|error| found(&error.to_string()))?;
        std::mem::forget(card.import(&buffer).map_err(|error| found(&error.to_string()))?);
        std::mem::forget(buffer);
        Ok(())
    });
}

/// What the kernel's own test of its checks can provoke, by the words it has for it.
const DEFECTS: [(&str, &str); 5] = [
    ("warns", "WARNING"),
    ("writes_to_memory_that_was_freed", "WRITE_AFTER_FREE"),
    ("writes_behind_an_array", "ARRAY_BOUNDS"),
    ("corrupts_a_list", "CORRUPT_LIST_ADD"),
    ("overflows_a_reference_count", "REFCOUNT_ADD_OVERFLOW"),
];

fn defects(cases: &mut Cases<Desk>) {
    const PROVOKE: &str = "/sys/kernel/debug/provoke-crash/DIRECT";
    for (name, word) in DEFECTS {
        // The kernel does it and goes on, and the body has nothing to object to.
        cases.add(format!("defect::{name}"), move |_| match std::fs::write(PROVOKE, word) {
            Ok(()) => Ok(()),
            Err(error) => Err(Trouble::Skip(format!("needs a kernel that has defects on demand; {PROVOKE}: {error}"))),
        });
    }
}

/// What the kernel says when it has found a defect.
const DEFECT: &str = "BUG: KASAN: no defect but a test";

/// Has the kernel log `words`: it repeats the option of a mount that it does not know.
fn have_the_kernel_say(words: &str) -> Result<(), Trouble> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu.contains("User Mode Linux") {
        return Err(Trouble::Skip("needs a kernel of its own".into()));
    }
    let words = std::ffi::CString::new(words).map_err(|error| found(&error.to_string()))?;
    match rustix::mount::mount("none", "/tmp", "tmpfs", rustix::mount::MountFlags::empty(), words.as_c_str()) {
        Ok(()) => Err(found("the kernel knows a mount option of ours")),
        Err(_) => Ok(()),
    }
}

/// Cases after whose end, or behind whose noise, the kernel objects.
fn objections(cases: &mut Cases<Desk>) {
    cases.add("objection::comes_behind_much_noise", |_| {
        for number in 0..600 {
            have_the_kernel_say(&format!("noise_{number}"))?;
        }
        have_the_kernel_say(DEFECT)
    });
    cases.add("objection::comes_before_more_noise_than_the_kernel_keeps", |_| {
        have_the_kernel_say(DEFECT)?;
        (0..6000).try_for_each(|number| have_the_kernel_say(&format!("noise_{number}")))
    });
    // The lack of memory is made up, and what the kernel has against it is real: cases/findings/expbuf-warning.md.
    cases.add("objection::comes_where_memory_is_short", |desk| {
        let heap = desk.real.heap(Role::DmaVideo)?;
        let faults = Faults::open().map_err(|error| found(&error.to_string()))?;
        let plane = Plane { offset: 0, pitch: 4 * 64 };
        let frame = Frame::linear(Fourcc::XR24, px(64, 64), plane);
        let agreement = Agreement { heap: heap.offer().heap.clone(), frame, bytes: 4 * 64 * 64 };
        for n in 1..100 {
            let allocated = faults.nth(&Thread::current(), n, || heap.allocate(&agreement).map(drop).is_ok());
            let (done, failed) = allocated.map_err(|error| found(&error.to_string()))?;
            if done && !failed {
                return Ok(());
            }
        }
        Err(found("a hundred allocations for one buffer"))
    });
    cases.add("objection::comes_between_two_cases", |_| {
        have_the_kernel_say("hush")?;
        let (locked, is_locked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // The worker can't take the next case before it has written out what this one printed.
            let stdout = std::io::stdout().lock();
            let _ = locked.send(());
            std::thread::sleep(Duration::from_millis(500));
            let _ = have_the_kernel_say(DEFECT);
            drop(stdout);
        });
        is_locked.recv().map_err(|error| found(&error.to_string()))
    });
    cases.add("objection::comes_when_devices_are_closed", |desk| {
        have_the_kernel_say("hush")?;
        desk.objects_at_the_end = true;
        Ok(())
    });
}

/// Cases that meet a failing system call in different ways.
fn walked(cases: &mut Cases<Desk>) {
    let open = || std::fs::File::open("/dev/null");
    cases.add("walk::says_what_failed", move |_| {
        open().map(drop).map_err(|error| found(&format!("openat on /dev/null: {error}")))
    });
    cases.add("walk::does_not_say_what_failed", move |_| open().map(drop).map_err(|_| found("something is wrong")));
    cases.add("walk::has_the_word_for_something_else", move |_| {
        open().map(drop).map_err(|_| found("after the openat of a frame something is wrong"))
    });
    cases.add("walk::does_not_mind", move |_| {
        let _ = open();
        Ok(())
    });
    cases.add("walk::loses_a_file_when_it_fails", move |_| {
        let first = open().map_err(|error| found(&format!("openat: {error}")))?;
        match open() {
            Ok(_) => Ok(()),
            Err(error) => {
                std::mem::forget(first);
                Err(found(&format!("openat: {error}")))
            }
        }
    });
    cases.add("walk::says_what_failed_and_leaves_a_buffer", move |desk| {
        let opened = open().map(drop).map_err(|error| found(&format!("openat on /dev/null: {error}")));
        desk.left_open = opened.is_err();
        opened
    });
    cases.add("walk::hangs_when_it_fails", move |_| if open().is_ok() { Ok(()) } else { hang() });
    cases.add("walk::ends_its_process_when_it_fails", move |_| match open() {
        Ok(_) => Ok(()),
        Err(_) => std::process::abort(),
    });
    cases.add("walked::spoils_the_end_of_its_worker", move |desk| {
        let _ = open();
        desk.bad_end = true;
        Ok(())
    });
    cases.add("walk::takes_the_wall_clock_for_a_stopwatch", |_| {
        let began = std::time::SystemTime::now();
        std::thread::sleep(Duration::from_millis(20));
        began.elapsed().map(drop).map_err(|error| found(&format!("a case that ended before it began: {error}")))
    });
}

fn known(cases: &mut Cases<Desk>) {
    cases
        .add("known::fails_as_listed", |_| Err(found("row 1 is shifted 1 px: like a row pitch 4 B too large")))
        .from(Role::Cpu)
        .known("processor", "https://example.org/1", "like a row pitch");
    cases.add("known::fails_otherwise", |_| Err(found("the fence never signalled"))).from(Role::Cpu).known(
        "processor",
        "https://example.org/2",
        "pitch",
    );
    cases.add("known::passes", |_| Ok(())).from(Role::Cpu).known("processor", "https://example.org/3", "pitch");
}

fn order(cases: &mut Cases<Desk>) {
    // What all cases of a worker have in common, of which no ledger has an entry.
    cases.add("order::spoils_the_worker", |_| {
        std::env::set_current_dir("/proc").map_err(|error| found(&error.to_string()))
    });
    cases.add("order::fails_after_the_other", |desk| {
        let here = std::env::current_dir().map_err(|error| found(&error.to_string()))?;
        match here == desk.began_in {
            true => Ok(()),
            false => Err(found(&format!("this process is in {}, and another case left it there", here.display()))),
        }
    });
    cases.add("late::spoils_the_end", |desk| {
        desk.bad_end = true;
        Ok(())
    });
}

fn found(text: &str) -> Trouble {
    Finding::new(text).into()
}

fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// One of them is the way the answers go.
fn write_on_every_pipe() {
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let is_standard = entry.file_name().len() == 1 && entry.file_name() < *"3";
        let is_pipe =
            std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
        if is_pipe && !is_standard {
            let pipe = std::fs::OpenOptions::new().write(true).open(entry.path());
            let _ = pipe.and_then(|mut pipe| pipe.write_all(b"%!PS-Adobe\n"));
        }
    }
}
