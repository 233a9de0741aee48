//! Is the ending of a disturbed case as it should be? Pure.

use crate::disturb::{Blow, Disturbance, Fault};
use crate::finding::{facts, tells_of_a_leak};
use crate::peer::STEPS;
use crate::verdict::Verdict;

/// How an ending is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clarity {
    /// The case did not mind, and may say so: it read every pixel.
    Borne,
    /// The case failed and said what went wrong.
    Named,
    /// It must not end so.
    Wrong(String),
}

/// What APIs say for errors of the kernel that they have no word for.
const WORDS: &[&str] = &[
    // Of the dynamic linker.
    "failed to map segment",
    "VK_ERROR_OUT_OF_HOST_MEMORY",
    "VK_ERROR_OUT_OF_DEVICE_MEMORY",
    "VK_ERROR_TOO_MANY_OBJECTS",
    "VK_ERROR_INVALID_EXTERNAL_HANDLE",
    "VK_ERROR_INITIALIZATION_FAILED",
    "VK_ERROR_DEVICE_LOST",
    // A layer "is not present or could not be loaded".
    "VK_ERROR_LAYER_NOT_PRESENT",
    // Vulkan's loader leaves out a driver that it can't open, and a driver what it would need a file for that it can't open.
    "opening a Vulkan device failed: there is",
    "VK_EXT_image_drm_format_modifier is missing",
    "EGL_BAD_ALLOC",
    "GL_OUT_OF_MEMORY",
];

/// Rows of a finding that tell of what had been done before, or what should have been: a call that stands there is no failing one.
const OF_OTHERS: &[&str] = &["calls", "opened by", "after", "like", "target", "not observed"];

/// How a peer ends that can't go on, since a call of its own failed.
const GAVE_UP: &str = "the process ended: exit status: 3";

/// How the ending of a case is to be taken that met `step` in `call`, and whose body said these `findings`.
pub(super) fn clarity(step: Disturbance, verdict: Verdict, findings: &[String], call: Option<&str>) -> Clarity {
    let wrong = |what: &str| Clarity::Wrong(what.to_owned());
    match (verdict, step) {
        (Verdict::Crash, _) => wrong("the worker does not survive it"),
        (Verdict::Timeout, _) => wrong("the case does not end"),
        (Verdict::Pass | Verdict::Known, _) => Clarity::Borne,
        (_, Disturbance::Call { fault: Fault::Interrupted, .. }) => {
            wrong("a call that a signal interrupted is not repeated")
        }
        (_, Disturbance::Signals) => wrong("signals change the verdict"),
        (_, Disturbance::Clock) => wrong("a clock that goes back changes the verdict"),
        (_, Disturbance::Nothing) => wrong("it does not pass"),
        (_, Disturbance::Call { fault, .. }) => {
            let any = |part: &str| findings.iter().any(|said| said.contains(part));
            // A peer that is not our own code any more says nothing; its end is what can be said.
            if ["SIGSEGV", "SIGABRT"].into_iter().any(any) {
                return wrong("its peer does not survive it");
            }
            if findings.iter().any(|said| tells_of_a_leak(said)) {
                return wrong("what failed leaves something behind");
            }
            if findings.iter().any(|said| names(said, fault, call)) {
                Clarity::Named
            } else {
                wrong("the case does not say what failed")
            }
        }
        (_, Disturbance::Peer { .. }) if findings.iter().any(|said| is_the_peers_end(step, said)) => Clarity::Named,
        (_, Disturbance::Peer { .. }) => wrong("the case does not say which peer is gone, and in which step"),
    }
}

/// Whether a finding says that `call` failed, or anything with the error of `fault`.
fn names(said: &str, fault: Fault, call: Option<&str>) -> bool {
    let facts: Vec<(&str, String)> = facts(said).filter(|(label, _)| !OF_OTHERS.contains(label)).collect();
    let any = |part: &str| facts.iter().any(|(_, text)| text.contains(part));
    // As `Error` and `Finding::from_error` have it, with what kind of call it was, if that is said: `… (import) failed: …`.
    let fails = |call: &str| {
        facts.iter().any(|(_, text)| {
            text.match_indices(call).any(|(at, _)| {
                let (before, rest) = (&text[..at], &text[at + call.len()..]);
                let rest = match rest.strip_prefix(" (").and_then(|rest| rest.split_once(')')) {
                    Some((_, rest)) => rest,
                    None => rest,
                };
                !before.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
                    && (rest.starts_with(" failed: ") || rest.starts_with(": ") || rest.starts_with(" on "))
            })
        })
    };
    any(&format!("{} (", fault.name())) || any(GAVE_UP) || WORDS.iter().any(|word| any(word)) || call.is_some_and(fails)
}

/// Whether `said` is that the peer is gone, which `step` has killed or stopped or had a call of fail, and in which of its steps.
pub(super) fn is_the_peers_end(step: Disturbance, said: &str) -> bool {
    let end = match step {
        Disturbance::Peer { blow: Blow::Kill, .. } => " failed: the process ended: signal: 9".to_owned(),
        Disturbance::Peer { blow: Blow::Stop, .. } => ": no answer within".to_owned(),
        Disturbance::Call { .. } => format!(" failed: {GAVE_UP}"),
        _ => return false,
    };
    let names_step = STEPS.iter().any(|step| said.contains(&format!("{step}{end}")));
    names_step && said.contains("peer process with ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{LEAVES, STAYS};

    const NO_FILE: Disturbance = Disturbance::Call { fault: Fault::TooManyFiles, nth: 1 };

    fn of(step: Disturbance, text: &str, call: Option<&str>) -> Clarity {
        clarity(step, Verdict::Fail, &[text.to_owned()], call)
    }

    #[test]
    fn a_failure_must_say_what_failed() {
        let of = |text: &str| of(NO_FILE, text, Some("UDMABUF_CREATE"));
        for said in [
            "UDMABUF_CREATE on udmabuf: EMFILE (too many open files)",
            "UDMABUF_CREATE failed: nothing\n\n  object      udmabuf",
            "UDMABUF_CREATE (a list) on udmabuf: nothing",
            "a pool gives no frame\n\n  said        UDMABUF_CREATE on udmabuf: nothing",
            "vkAllocateMemory on gpu_a: VK_ERROR_TOO_MANY_OBJECTS",
        ] {
            assert_eq!(of(said), Clarity::Named, "{said}");
        }
        for said in [
            "12 of 30 pixels differ",
            "the process ended: signal: 11 (SIGSEGV)",
            "12 of 30 pixels differ\n\n  calls       call 1 of 2: UDMABUF_CREATE on udmabuf: nothing\n              UDMABUF_CREATE failed: x",
            "12 of 30 pixels differ\n\n  like        EMFILE (too many open files), or a UDMABUF_CREATE on another one",
            "it is refused otherwise\n\n  target      VK_ERROR_TOO_MANY_OBJECTS\n  actual      success",
            "UDMABUF_CREATE is asked for twice",
            "XUDMABUF_CREATE failed: nothing",
        ] {
            assert!(matches!(of(said), Clarity::Wrong(_)), "{said}");
        }
        assert_eq!(clarity(NO_FILE, Verdict::Pass, &[], None), Clarity::Borne);
    }

    #[test]
    fn our_own_words_name_no_call() {
        let step = Disturbance::Call { fault: Fault::NoMemory, nth: 1 };
        let poll = |text: &str| of(step, text, Some("poll"));
        assert!(matches!(poll("a poll for readers does not agree with the fences"), Clarity::Wrong(_)));
        assert_eq!(poll("poll on sync_file: ENOMEM (Cannot allocate memory)"), Clarity::Named);
    }

    #[test]
    fn a_failed_call_that_leaves_something_is_wrong_also_if_it_is_named() {
        let failed = "UDMABUF_CREATE on udmabuf: EMFILE (too many open files)".to_owned();
        for leak in [
            format!("an import fails, and {LEAVES}: fd 3 stays open: sync_file"),
            format!("1 fd stays {STAYS} 2 imports, +0.50 each: dma-buf"),
        ] {
            let both = [failed.clone(), leak];
            assert!(matches!(clarity(NO_FILE, Verdict::Fail, &both, Some("UDMABUF_CREATE")), Clarity::Wrong(_)));
        }
    }

    #[test]
    fn what_may_be_interrupted_must_be_repeated() {
        let step = Disturbance::Call { fault: Fault::Interrupted, nth: 1 };
        assert!(matches!(of(step, "poll: EINTR", Some("poll")), Clarity::Wrong(_)));
        assert!(matches!(clarity(Disturbance::Signals, Verdict::Skip, &[], None), Clarity::Wrong(_)));
    }

    #[test]
    fn a_peer_that_is_gone_is_named() {
        let step = |blow| Disturbance::Peer { blow, nth: 3 };
        let text = "letting go failed: the process ended: signal: 9 (SIGKILL)\n\n  object   peer process with gpu_a";
        assert_eq!(of(step(Blow::Kill), text, None), Clarity::Named);
        assert!(matches!(of(step(Blow::Stop), text, None), Clarity::Wrong(_)));
        assert!(is_the_peers_end(step(Blow::Kill), text) && !is_the_peers_end(step(Blow::Stop), text));
        let gave_up = text.replace("signal: 9 (SIGKILL)", "exit status: 3");
        assert!(is_the_peers_end(NO_FILE, &gave_up) && !is_the_peers_end(NO_FILE, text));
        let text = "attaching and mapping: no answer within 700 ms\n\n  object   peer process with gpu_a";
        assert_eq!(of(step(Blow::Stop), text, None), Clarity::Named);
        let text = "asking: no answer within 700 ms\n\n  object   peer process with gpu_a";
        assert!(matches!(of(step(Blow::Stop), text, None), Clarity::Wrong(_)), "in which step?");
        assert!(matches!(clarity(step(Blow::Stop), Verdict::Timeout, &[text.to_owned()], None), Clarity::Wrong(_)));
    }
}
